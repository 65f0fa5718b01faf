"""Custom kinds among the APIServices: registered by themselves, in discovery's order, counted by quotas."""

from __future__ import annotations

from typing import Any

import trio

from .conftest import Api

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
PATCH = {"Content-Type": "application/merge-patch+json"}


def definition(plural: str, group: str, *versions: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object"}}
    declared = [{"name": name, "served": True, "storage": name == versions[0], "schema": schema} for name in versions]
    spec = {"group": group, "names": {"plural": plural, "kind": plural.title()}, "scope": "Namespaced"}
    return {"metadata": {"name": f"{plural}.{group}"}, "spec": {**spec, "versions": declared}}


async def shown(api: Api, name: str, **expected: Any) -> dict[str, Any]:
    """An APIService, when its spec has what is expected."""
    with trio.fail_after(10):
        while True:
            answer, found = await api.ask("GET", f"{SERVICES}/{name}")
            if answer.status == 200 and expected.items() <= found["spec"].items():
                assert isinstance(found, dict)
                return found
            await trio.sleep(0.02)


async def test_every_served_version_of_a_definition_is_an_available_api_service(api: Api) -> None:
    group = "registered.example.com"
    await api.make(DEFINITIONS, definition("as", group, "v1", "v2beta1"))
    await api.make(DEFINITIONS, definition("bs", group, "v1"))
    for version in ("v1", "v2beta1"):
        condition = await api.available(f"{version}.{group}", "Local")
        assert condition["status"] == "True"
        found = await shown(api, f"{version}.{group}")
        assert found["spec"] == {
            "group": group,
            "groupPriorityMinimum": 1000,
            "version": version,
            "versionPriority": 100,
        }
        assert found["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
    # one that is not served any more goes; one that another definition has as well stays
    versions = definition("as", group, "v1", "v2beta1")["spec"]["versions"]
    versions[1]["served"] = False
    await api.ask("PATCH", f"{DEFINITIONS}/as.{group}", {"spec": {"versions": versions}}, headers=PATCH)
    await api.until(f"{SERVICES}/v2beta1.{group}", 404)
    await api.ask("DELETE", f"{DEFINITIONS}/as.{group}")
    await api.until(f"{DEFINITIONS}/as.{group}", 404)
    assert (await api.ask("GET", f"{SERVICES}/v1.{group}"))[0].status == 200
    await api.ask("DELETE", f"{DEFINITIONS}/bs.{group}")
    await api.until(f"{SERVICES}/v1.{group}", 404)


async def test_what_follows_a_definition_is_put_right_unless_its_label_is_gone(api: Api) -> None:
    group = "kept.example.com"
    await api.make(DEFINITIONS, definition("as", group, "v1"))
    await api.available(f"v1.{group}", "Local")
    name = f"v1.{group}"
    await api.ask("DELETE", f"{SERVICES}/{name}")
    await shown(api, name, versionPriority=100)
    await api.available(name, "Local")
    spec = {"versionPriority": 7, "service": {"name": "x", "namespace": "default"}, "insecureSkipTLSVerify": True}
    await api.ask("PATCH", f"{SERVICES}/{name}", {"spec": spec}, headers=PATCH)
    assert "service" not in (await shown(api, name, versionPriority=100))["spec"]
    labels = {"kube-aggregator.kubernetes.io/automanaged": None}
    await api.ask("PATCH", f"{SERVICES}/{name}", {"metadata": {"labels": labels}}, headers=PATCH)
    await api.ask("PATCH", f"{SERVICES}/{name}", {"spec": {"versionPriority": 7}}, headers=PATCH)
    await api.available(name, "Local")
    assert (await shown(api, name))["spec"]["versionPriority"] == 7
    await api.ask("DELETE", f"{DEFINITIONS}/as.{group}")
    await api.until(f"{DEFINITIONS}/as.{group}", 404)
    assert (await api.ask("GET", f"{SERVICES}/{name}"))[0].status == 200
    await api.ask("DELETE", f"{SERVICES}/{name}")


async def test_groups_come_in_the_order_of_their_priorities(api: Api) -> None:
    await api.make(DEFINITIONS, definition("as", "low.example.com", "v1", "v2", "v3alpha1"))
    await api.api_service("aside.example.com", "nowhere", insecureSkipTLSVerify=True, groupPriorityMinimum=900)
    await api.api_service("before.example.com", "nowhere", insecureSkipTLSVerify=True, groupPriorityMinimum=2000)
    await api.available("v3alpha1.low.example.com", "Local")
    await api.available("v1.before.example.com", "ServiceNotFound")
    await api.available("v1.aside.example.com", "ServiceNotFound")
    _, groups = await api.ask("GET", "/apis")
    names = [group["name"] for group in groups["groups"]]
    assert names[:2] == ["apiregistration.k8s.io", "apps"]
    assert names[-3:] == ["before.example.com", "low.example.com", "aside.example.com"]
    # of the same priority, versions come as Kubernetes orders them
    (low,) = [group for group in groups["groups"] if group["name"] == "low.example.com"]
    assert [version["version"] for version in low["versions"]] == ["v2", "v1", "v3alpha1"]
    assert low["preferredVersion"]["version"] == "v2"
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
    _, whole = await api.ask("GET", "/apis", headers=accept)
    assert [item["metadata"]["name"] for item in whole["items"]] == names
    for name in ("v1.aside.example.com", "v1.before.example.com"):
        await api.ask("DELETE", f"{SERVICES}/{name}")
    await api.ask("DELETE", f"{DEFINITIONS}/as.low.example.com")


async def test_a_quota_counts_custom_kinds_and_holds(api: Api) -> None:
    group = "counted.example.com"
    await api.make(DEFINITIONS, definition("as", group, "v1"))
    await api.make("/api/v1/namespaces", {"metadata": {"name": "counted"}})
    quotas = "/api/v1/namespaces/counted/resourcequotas"
    await api.make(quotas, {"metadata": {"name": "q"}, "spec": {"hard": {f"count/as.{group}": "2"}}})

    async def used(count: str) -> None:
        with trio.fail_after(15):
            while True:
                _, quota = await api.ask("GET", f"{quotas}/q")
                if (quota["status"].get("used") or {}).get(f"count/as.{group}") == count:
                    return
                await trio.sleep(0.02)

    await used("0")
    path = f"/apis/{group}/v1/namespaces/counted/as"
    for name in "xy":
        await api.make(path, {"apiVersion": f"{group}/v1", "kind": "As", "metadata": {"name": name}})
    await used("2")
    third = {"apiVersion": f"{group}/v1", "kind": "As", "metadata": {"name": "z"}}
    answer, refused = await api.ask("POST", path, third)
    assert (answer.status, refused["message"]) == (
        403,
        f'as.{group} "z" is forbidden: exceeded quota: q, requested: count/as.{group}=1, used: count/as.{group}=2, '
        f"limited: count/as.{group}=2",
    )
    await api.ask("DELETE", f"{path}/x")
    await used("1")
    await api.make(path, third)
    await api.ask("DELETE", f"{DEFINITIONS}/as.{group}")
