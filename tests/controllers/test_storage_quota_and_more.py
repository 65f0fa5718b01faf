"""Volumes, quotas, budgets, roles, cron jobs, autoscalers and certificates in a fake cluster."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from kcore_controllers import autoscaler, cron
from kcore_controllers.certificates import CERTIFICATESIGNINGREQUESTS
from trio.testing import MockClock

from kcore import clock, errors
from kcore.objects import Object, meta
from kcore.objects.resources import (
    CLUSTERROLES,
    CRONJOBS,
    DEPLOYMENTS,
    HORIZONTALPODAUTOSCALERS,
    JOBS,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    RESOURCEQUOTAS,
    SERVICES,
    STORAGECLASSES,
)

from .conftest import Start
from .objects import deployment, pod, replicaset, service

STORAGE = ("persistentvolume-binder", "persistentvolumeclaim-protection", "persistentvolume-protection")


def claim(name: str = "data", **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec},
    }


def using(name: str, claim_name: str) -> Object:
    return pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}])


async def test_a_class_named_by_the_old_annotation_is_used_and_a_known_provisioner_is_stood_in_for(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster(*STORAGE) as c:
        fast = {"metadata": {"name": "fast"}, "provisioner": "k8s.io/minikube-hostpath", "reclaimPolicy": "Delete"}
        await c.client.create(STORAGECLASSES, fast)
        wanted = claim()
        wanted["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": "fast"}
        await c.client.create(PERSISTENTVOLUMECLAIMS, wanted)
        await c.settle()
        bound = await c.client.get(PERSISTENTVOLUMECLAIMS, "data", "default")
        assert bound["status"]["phase"] == "Bound"
        assert "storageClassName" not in bound["spec"]
        (volume,) = await c.all(PERSISTENTVOLUMES)
        assert volume["spec"]["storageClassName"] == "fast"
        await c.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await c.settle()
        assert await c.all(PERSISTENTVOLUMES) == []


async def test_the_first_consumer_of_a_claim_gets_it_a_volume(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*STORAGE) as c:
        await c.client.create(PERSISTENTVOLUMECLAIMS, claim())
        await c.settle()
        default = await c.client.get(STORAGECLASSES, "standard")
        assert (default["provisioner"], default["volumeBindingMode"]) == ("kcore.dev/fake", "WaitForFirstConsumer")
        waiting = await c.client.get(PERSISTENTVOLUMECLAIMS, "data", "default")
        assert waiting["spec"]["storageClassName"] == "standard"
        assert "volumeName" not in waiting["spec"]
        await c.client.create(PODS, using("p", "data"))
        await c.settle()
        bound = await c.client.get(PERSISTENTVOLUMECLAIMS, "data", "default")
        assert bound["status"] == {
            "phase": "Bound",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
        }
        (volume,) = await c.all(PERSISTENTVOLUMES)
        assert meta.name(volume) == bound["spec"]["volumeName"] == f"pvc-{meta.uid(bound)}"
        assert volume["status"]["phase"] == "Bound"
        # a claim in use stays, and its volume goes with it
        await c.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await c.settle()
        assert meta.deleting(await c.client.get(PERSISTENTVOLUMECLAIMS, "data", "default"))
        await c.client.delete(PODS, "p", "default", grace_seconds=0)
        await c.settle()
        assert await c.all(PERSISTENTVOLUMECLAIMS) == []
        assert await c.all(PERSISTENTVOLUMES) == []


async def test_volumes_made_by_hand_are_matched_and_retained(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*STORAGE) as c:
        for name, size, modes in (
            ("small", "500Mi", ["ReadWriteOnce"]),
            ("big", "10Gi", ["ReadWriteOnce"]),
            ("fit", "2Gi", ["ReadWriteOnce"]),
            ("shared", "2Gi", ["ReadOnlyMany"]),
        ):
            spec = {"capacity": {"storage": size}, "accessModes": modes, "persistentVolumeReclaimPolicy": "Retain"}
            await c.client.create(PERSISTENTVOLUMES, {"metadata": {"name": name}, "spec": spec})
        await c.client.create(PERSISTENTVOLUMECLAIMS, claim(storageClassName=""))
        await c.settle()
        bound = await c.client.get(PERSISTENTVOLUMECLAIMS, "data", "default")
        assert bound["spec"]["volumeName"] == "fit"
        phases = {meta.name(v): v["status"]["phase"] for v in await c.all(PERSISTENTVOLUMES)}
        assert phases == {"small": "Available", "big": "Available", "fit": "Bound", "shared": "Available"}
        await c.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await c.settle()
        assert (await c.client.get(PERSISTENTVOLUMES, "fit"))["status"]["phase"] == "Released"


async def test_a_quota_counts_what_its_namespace_uses(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("resourcequota") as c:
        hard = {"pods": "2", "requests.cpu": "1", "requests.memory": "1Gi", "services": "1", "count/jobs.batch": "5"}
        quota = {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}
        await c.client.create(RESOURCEQUOTAS, quota)
        resources = {"requests": {"cpu": "250m", "memory": "128Mi"}}
        containers = [{"name": n, "image": "i", "resources": resources} for n in "ab"]
        await c.client.create(PODS, pod("p", containers=containers))
        await c.client.create(SERVICES, service())
        await c.client.create(JOBS, {"metadata": {"name": "j", "namespace": "default"}, "spec": {}})
        await c.settle(310)
        status = (await c.client.get(RESOURCEQUOTAS, "q", "default"))["status"]
        assert status["hard"] == hard
        assert status["used"] == {
            "pods": "1",
            "requests.cpu": "500m",
            "requests.memory": "256Mi",
            "services": "1",
            "count/jobs.batch": "1",
        }
        await c.finish(await c.client.get(PODS, "p", "default"))
        await c.settle()
        used = (await c.client.get(RESOURCEQUOTAS, "q", "default"))["status"]["used"]
        assert (used["pods"], used["requests.cpu"], used["requests.memory"]) == ("0", "0", "0")


async def test_a_count_does_not_undo_what_was_booked_a_moment_ago(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("resourcequota") as c:
        quota = {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"pods": "9"}}}
        await c.client.create(RESOURCEQUOTAS, quota)
        await c.settle(1)

        async def used() -> str:
            return str((await c.client.get(RESOURCEQUOTAS, "q", "default"))["status"]["used"]["pods"])

        assert await used() == "0"
        booked = await c.client.get(RESOURCEQUOTAS, "q", "default")
        booked = {**booked, "status": {"hard": {"pods": "9"}, "used": {"pods": "2"}}}
        await c.client.update(RESOURCEQUOTAS, booked, subresource="status")
        await c.client.create(PODS, pod("p"))  # one of the two that are booked
        await c.settle(1)
        assert await used() == "2"
        await c.settle(30)  # the other one never came
        assert await used() == "1"


async def test_a_budget_tells_how_many_may_go(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("replicaset", "disruption") as c:
        await c.client.create(REPLICASETS, replicaset(replicas=4))
        spec = {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": "web"}}}
        await c.client.create(PODDISRUPTIONBUDGETS, {"metadata": {"name": "b", "namespace": "default"}, "spec": spec})
        await c.settle()
        budget = await c.client.get(PODDISRUPTIONBUDGETS, "b", "default")
        numbers = {k: budget["status"][k] for k in ("expectedPods", "desiredHealthy", "currentHealthy")}
        assert numbers == {"expectedPods": 4, "desiredHealthy": 3, "currentHealthy": 4}
        assert budget["status"]["disruptionsAllowed"] == 1
        assert meta.condition_is(budget, "DisruptionAllowed")
        await c.set_status((await c.all(PODS))[0], conditions=[{"type": "Ready", "status": "False"}])
        await c.settle()
        budget = await c.client.get(PODDISRUPTIONBUDGETS, "b", "default")
        assert budget["status"]["disruptionsAllowed"] == 0


async def test_aggregated_roles_follow_their_parts(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("clusterrole-aggregation") as c:
        rule = {"clusterRoleSelectors": [{"matchLabels": {"agg": "yes"}}]}
        await c.client.create(CLUSTERROLES, {"metadata": {"name": "all"}, "aggregationRule": rule, "rules": None})
        rules = [{"apiGroups": ["ex.com"], "resources": ["foos"], "verbs": ["get"]}]
        await c.client.create(CLUSTERROLES, {"metadata": {"name": "part", "labels": {"agg": "yes"}}, "rules": rules})
        await c.settle()
        assert (await c.client.get(CLUSTERROLES, "all"))["rules"] == rules
        await c.client.delete(CLUSTERROLES, "part")
        await c.settle()
        assert (await c.client.get(CLUSTERROLES, "all"))["rules"] is None


async def test_a_cron_job_makes_jobs_and_keeps_three(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("cronjob", "job") as c:
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {
            "schedule": "*/10 * * * *",
            "jobTemplate": {
                "spec": {"selector": {"matchLabels": {"app": "web"}}, "completions": 1, "template": template}
            },
        }
        await c.client.create(CRONJOBS, {"metadata": {"name": "tick", "namespace": "default"}, "spec": spec})
        for _ in range(5):
            await c.settle(600)
            for p in await c.all(PODS):
                if meta.pod_active(p):
                    await c.finish(p)
            await c.settle(5)
        jobs = await c.all(JOBS)
        assert len(jobs) == 3
        assert meta.name(jobs[-1]) == f"tick-{int(clock.now()) // 600 * 10}"
        status = (await c.client.get(CRONJOBS, "tick", "default"))["status"]
        assert clock.parse(status["lastScheduleTime"]) % 600 == 0
        assert "active" not in status
        assert status["lastSuccessfulTime"]


@pytest.mark.parametrize(
    ("text", "after", "then"),
    [
        ("*/15 * * * *", "2026-01-01T10:07", "2026-01-01T10:15"),
        ("0 3 * * mon", "2026-01-01T10:07", "2026-01-05T03:00"),
        ("30 4 1,15 * 5", "2026-01-01T10:07", "2026-01-02T04:30"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("@monthly", "2026-01-31T23:59", "2026-02-01T00:00"),
        ("0 22 * * 7", "2026-01-01T00:00", "2026-01-04T22:00"),
    ],
)
def test_schedules_come_when_cron_says(text: str, after: str, then: str) -> None:
    found = cron.parse(text).next(datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(then).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "@never"])
def test_schedules_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cron.parse(text)


async def test_an_autoscaler_follows_cpu_within_its_bounds(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("deployment", "replicaset", "horizontalpodautoscaling") as c:
        d = deployment(replicas=1)
        d["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
        await c.client.create(DEPLOYMENTS, d)
        spec = {
            "minReplicas": 2,
            "maxReplicas": 6,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                }
            ],
        }
        hpa = {"metadata": {"name": "h", "namespace": "default"}, "spec": spec}
        await c.client.create(HORIZONTALPODAUTOSCALERS, hpa)
        await c.settle(40)
        assert (await c.client.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"] == 2

        async def use(cpu: str) -> None:
            for p in await c.all(PODS):
                usage = {"metadata": {"name": meta.name(p), "namespace": "default", "labels": meta.labels(p)}}
                usage["containers"] = [{"name": "c", "usage": {"cpu": cpu}}]  # type: ignore[assignment]
                try:
                    await c.client.create(autoscaler.PODMETRICS, usage)
                except errors.AlreadyExists:
                    await c.client.update(autoscaler.PODMETRICS, usage)

        await use("100m")
        await c.settle(20)
        assert (await c.client.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"] == 4
        found = await c.client.get(HORIZONTALPODAUTOSCALERS, "h", "default")
        assert (meta.condition(found, "ScalingActive") or {})["reason"] == "ValidMetricFound"
        await c.settle(20)
        await use("200m")
        await c.settle(20)
        assert (await c.client.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"] == 6
        await c.settle(20)
        await use("1m")
        await c.settle(200)
        assert (await c.client.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"] == 6  # not too hasty
        await c.settle(200)
        assert (await c.client.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"] == 2


async def test_a_kubelet_gets_its_certificate(cluster: Start, autojump_clock: MockClock) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    async with cluster("certificatesigningrequest") as c:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
        start, end = datetime.fromtimestamp(clock.now(), UTC), datetime(2060, 1, 1, tzinfo=UTC)
        ca = x509.CertificateBuilder().subject_name(issuer).issuer_name(issuer).public_key(ca_key.public_key())
        signed = ca.serial_number(1).not_valid_before(start).not_valid_after(end).sign(ca_key, hashes.SHA256())
        pki = c.context.data_dir / "pki"
        pki.mkdir()
        (pki / "ca.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        (pki / "ca.key").write_bytes(
            ca_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        subject = [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, "system:node:n1")]
        csr = x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name([x509.NameAttribute(o, v) for o, v in subject])
        )
        pem = csr.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM
        )
        for name, user in (("own", "system:node:n1"), ("foreign", "mallory")):
            spec = {
                "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
                "request": base64.b64encode(pem).decode(),
                "usages": ["digital signature", "client auth"],
                "username": user,
            }
            await c.client.create(CERTIFICATESIGNINGREQUESTS, {"metadata": {"name": name}, "spec": spec})
        await c.settle()
        status = (await c.client.get(CERTIFICATESIGNINGREQUESTS, "own"))["status"]
        made = x509.load_pem_x509_certificate(base64.b64decode(status["certificate"]))
        made.verify_directly_issued_by(signed)
        assert "status" not in await c.client.get(CERTIFICATESIGNINGREQUESTS, "foreign")
