"""What a runtime is told about a pod's sandbox: names, resolver, hosts, runtime class."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from kcore_runtime_fake.engine import FakeNode

from kcore.node.qos import oom_score_adj
from kcore.objects.resources import RUNTIMECLASSES
from kcore.runtime import Dns, SandboxConfig
from kcore.runtime.texts import hosts_file
from tests.node.conftest import World, pod, ready


async def config_of(cluster: World, **spec: Any) -> SandboxConfig:
    await cluster.create(pod(**spec))
    await cluster.until(ready)
    node = cluster.agent.runtime
    assert isinstance(node, FakeNode)
    return next(iter(node._sandboxes.values())).config


async def test_subdomain_gives_the_pod_a_full_name_in_hosts(autojump_clock: Any, cluster: World) -> None:
    config = await config_of(cluster, hostname="a", subdomain="db")
    assert (config.hostname, config.domain) == ("a", "db.default.svc.cluster.local")
    assert "127.100.0.1\ta.db.default.svc.cluster.local\ta\n" in hosts_file(config, ["127.100.0.1"])


async def test_full_name_becomes_the_host_name_where_the_pod_wants_it(autojump_clock: Any, cluster: World) -> None:
    config = await config_of(cluster, hostname="a", subdomain="db", setHostnameAsFQDN=True)
    assert config.hostname == "a.db.default.svc.cluster.local"
    assert "\ta.db.default.svc.cluster.local\ta\n" in hosts_file(config, ["127.100.0.1"])


async def test_full_name_that_the_kernel_does_not_take_is_told(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(hostname="a" * 40, subdomain="db", setHostnameAsFQDN=True))
    await cluster.until(lambda p: p.get("status"))
    events = await cluster.events()
    assert any(r == "FailedCreatePodSandBox" and "is too long (64 characters is the max" in m for r, m in events)


async def test_names_of_one_alias_stand_on_one_line(autojump_clock: Any, cluster: World) -> None:
    aliases = [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]
    text = hosts_file(await config_of(cluster, hostAliases=aliases), ["127.100.0.1"])
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert text.endswith("\n# Entries added by HostAliases.\n123.45.67.89\tfoo\tbar\n")


CLUSTER = Dns(("10.0.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"), ("ndots:5",))


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, CLUSTER),
        ({"dnsPolicy": "ClusterFirst", "hostNetwork": True}, Dns()),
        ({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True}, CLUSTER),
        ({"dnsPolicy": "Default"}, Dns()),
        (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"]}},
            Dns(("1.1.1.1",), ("x",)),
        ),
        (
            {"dnsConfig": {"searches": ["x"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}},
            attrs.evolve(CLUSTER, searches=(*CLUSTER.searches, "x"), options=("ndots:2", "edns0")),
        ),
    ],
)
async def test_resolver_follows_policy_and_config(
    autojump_clock: Any, cluster: World, spec: dict[str, Any], wanted: Dns
) -> None:
    cluster.host.dns_servers = ("10.0.0.10",)
    assert (await config_of(cluster, **spec)).dns == wanted


async def test_runtime_class_names_the_handler(autojump_clock: Any, cluster: World) -> None:
    await cluster.client.create(RUNTIMECLASSES, {"metadata": {"name": "own"}, "handler": "fake"})
    config = await config_of(cluster, runtimeClassName="own", shareProcessNamespace=True)
    assert config.runtime_handler == "fake"
    assert config.share_process_namespace


async def test_pod_of_an_unknown_runtime_class_waits_until_it_is_there(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(runtimeClassName="own"))
    await cluster.until(lambda p: p.get("status"))
    text = 'failed to get sandbox runtime: RuntimeClass.node.k8s.io "own" not found'
    assert ("FailedCreatePodSandBox", f"Failed to create pod sandbox: {text}") in await cluster.events()
    await cluster.client.create(RUNTIMECLASSES, {"metadata": {"name": "own"}, "handler": "fake"})
    await cluster.until(ready)


async def test_handler_that_the_runtime_does_not_have_is_told(autojump_clock: Any, cluster: World) -> None:
    await cluster.client.create(RUNTIMECLASSES, {"metadata": {"name": "own"}, "handler": "kata"})
    await cluster.create(pod(runtimeClassName="own"))
    await cluster.until(lambda p: p.get("status"))
    text = 'Failed to create pod sandbox: no runtime for "kata" is configured'
    assert ("FailedCreatePodSandBox", text) in await cluster.events()


MEMORY = {"requests": {"memory": "1Gi"}}
BOTH = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [({}, 1000), (BOTH, -997), (MEMORY, 875), ({"requests": {"memory": "8Gi"}}, 3), ({"requests": {"cpu": "1"}}, 999)],
)
def test_who_asks_for_less_memory_is_killed_sooner(resources: Any, wanted: int) -> None:
    found = pod(containers=[{"name": "app", "resources": resources}])
    assert oom_score_adj(found, found["spec"]["containers"][0], {"memory": "8Gi"}) == wanted


def test_sidecar_is_not_killed_before_whom_it_serves() -> None:
    side = {"name": "side", "restartPolicy": "Always"}
    found = pod(containers=[{"name": "app", "resources": MEMORY}], initContainers=[side])
    assert oom_score_adj(found, side, {"memory": "8Gi"}) == 875
