"""What grows while a cluster lives."""

from kcore_controllers.slices import Layout
from trio.testing import MockClock

from kcore.objects import Object, meta
from kcore.objects.resources import ENDPOINTS, ENDPOINTSLICES, PERSISTENTVOLUMECLAIMS, PODS, SERVICES, STATEFULSETS

from .conftest import Start
from .objects import service


def test_what_is_known_of_a_service_does_not_grow_with_its_changes() -> None:
    made = {**service(), "metadata": {"name": "web", "namespace": "default", "uid": "u"}}
    layout = Layout(made, [], "m")
    for number in range(3000):
        (wanted,) = layout.to_create() or layout.to_update()
        result = {**wanted, "metadata": {**wanted["metadata"], "name": "web-1", "resourceVersion": str(number)}}
        layout.written(result, wanted)
        assert layout.expected(None, result)
        group = next(iter(layout._slices)).group
        layout.place("default/p", {group: {"addresses": [f"10.0.0.{number % 2}"]}})
    assert len(layout._versions) <= 1000


async def test_labels_of_mirrored_endpoints_are_kept_up_to_date(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("endpointslicemirroring") as c:
        await c.client.create(SERVICES, service(selector={}))
        subsets = [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80, "protocol": "TCP"}]}]
        ends = {"metadata": {"name": "web", "namespace": "default", "labels": {"a": "1"}}, "subsets": subsets}
        await c.client.create(ENDPOINTS, ends)
        await c.settle()
        await c.client.patch(ENDPOINTS, "web", {"metadata": {"labels": {"a": "2"}}}, "default")
        await c.settle()
        (mirrored,) = await c.all(ENDPOINTSLICES)
        assert meta.labels(mirrored)["a"] == "2"


def with_claims() -> Object:
    labels = {"app": "db"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "img:1"}]}}
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    return {
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "replicas": 2,
            "serviceName": "db",
            "selector": {"matchLabels": labels},
            "template": template,
            "volumeClaimTemplates": [claim],
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
        },
    }


async def test_a_pod_that_comes_back_does_not_take_the_claim_that_goes(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("statefulset", "garbagecollector", "persistentvolumeclaim-protection") as c:
        await c.client.create(STATEFULSETS, with_claims())
        await c.settle()
        old = await c.client.get(PERSISTENTVOLUMECLAIMS, "data-db-1", "default")
        await c.client.patch(STATEFULSETS, "db", {"spec": {"replicas": 1}}, "default")
        while meta.pod_ready(await c.client.get(PODS, "db-1", "default")):
            await c.settle(0.01)
            if "db-1" not in {meta.name(p) for p in await c.all(PODS)}:
                break
        await c.client.patch(STATEFULSETS, "db", {"spec": {"replicas": 2}}, "default")
        await c.settle(60)
        new = await c.client.get(PERSISTENTVOLUMECLAIMS, "data-db-1", "default")
        assert meta.uid(new) != meta.uid(old)
        assert not meta.deleting(new)
        assert meta.pod_ready(await c.client.get(PODS, "db-1", "default"))
