"""Defaults of a pod's spec: the same for pods and for the templates of workloads, but where it says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")

# Volume sources and what they have by default; also those of PersistentVolumes.
SOURCES: dict[str, Object] = {
    "secret": {"defaultMode": 420},
    "configMap": {"defaultMode": 420},
    "downwardAPI": {"defaultMode": 420},
    "projected": {"defaultMode": 420},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def missing(target: Object, values: Object) -> None:
    """Set what is not there."""
    for name, value in values.items():
        if target.get(name) is None:
            target[name] = value


def containers(spec: Object) -> Iterator[tuple[str, Object]]:
    """Every container of every sort, with its list's name."""
    for sort in CONTAINERS:
        for container in spec.get(sort) or ():
            if isinstance(container, dict):
                yield sort, container


def fill_pod(spec: Object) -> None:
    """What only a pod has, not a template: links to services, host ports, requests from limits."""
    missing(spec, {"enableServiceLinks": True})
    for sort, container in containers(spec):
        if sort == "ephemeralContainers":
            continue
        _requests_from_limits(container.get("resources"))
        if spec.get("hostNetwork"):
            for port in container.get("ports") or ():
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)
    if spec.get("resources"):
        _pod_requests(spec)
    fill_spec(spec)


def fill_template(template: Object) -> None:
    fill_spec(template.setdefault("spec", {}))


def fill_spec(spec: Object) -> None:
    """What pods and templates have in common."""
    missing(
        spec,
        {
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
        },
    )
    # the old name of the same thing: both are always served
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for _, container in containers(spec):
        fill_container(container)
    for volume in spec.get("volumes") or ():
        fill_volume(volume)


def fill_container(container: Object) -> None:
    missing(
        container,
        {
            "imagePullPolicy": pull_policy(container.get("image") or ""),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        },
    )
    for port in container.get("ports") or ():
        missing(port, {"protocol": "TCP"})
    for env in container.get("env") or ():
        ref = (env.get("valueFrom") or {}).get("fieldRef")
        if ref is not None:
            missing(ref, {"apiVersion": "v1"})
    for name in PROBES:
        probe = container.get(name)
        if probe is not None:
            _probe(probe)
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _http(handler)


def pull_policy(image: str) -> str:
    """Always for the tag ``latest`` or none at all; IfNotPresent for another tag or a digest."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if digest and not tag:
        return "IfNotPresent"
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _probe(probe: Object) -> None:
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(name):
            probe[name] = value
    _http(probe)
    if probe.get("grpc") is not None:
        missing(probe["grpc"], {"service": ""})


def _http(handler: Object) -> None:
    http = handler.get("httpGet")
    if http is not None:
        missing(http, {"path": "/", "scheme": "HTTP"})


def fill_volume(volume: Object) -> None:
    """A volume of a pod; one without a source is an empty directory."""
    if volume.keys() <= {"name"}:
        volume["emptyDir"] = {}
        return
    fill_source(volume)
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        _field_ref(item)
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("serviceAccountToken") is not None:
            missing(source["serviceAccountToken"], {"expirationSeconds": 3600})
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _field_ref(item)
    claim = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if claim is not None:
        missing(claim.setdefault("spec", {}), {"volumeMode": "Filesystem"})


def fill_source(volume: Object) -> None:
    """The defaults of a volume's source, of a pod or a PersistentVolume."""
    for name, source in volume.items():
        values = SOURCES.get(name)
        if values is not None and isinstance(source, dict):
            missing(source, values)


def _field_ref(item: Object) -> None:
    if item.get("fieldRef") is not None:
        missing(item["fieldRef"], {"apiVersion": "v1"})


def _requests_from_limits(resources: Object | None) -> None:
    limits = (resources or {}).get("limits")
    if resources is None or not limits:
        return
    requests = resources.setdefault("requests", {})
    for name, amount in limits.items():
        requests.setdefault(name, amount)


def _pod_requests(spec: Object) -> None:
    """Requests of the whole pod: from its containers' when all of them name some, otherwise from its own limits."""
    resources = spec["resources"]
    limits = resources.get("limits") or {}
    requests = dict(resources.get("requests") or {})
    for name, amount in limits.items():
        if name in requests or (name not in ("cpu", "memory") and not name.startswith("hugepages-")):
            continue
        total = _sum_requests(spec, name)
        requests[name] = total if total is not None else amount
    if requests:
        resources["requests"] = requests


def _sum_requests(spec: Object, name: str) -> str | None:
    """What the containers request of a resource together; None when none of them requests any."""
    from kcore.objects import quantity

    amounts = [
        (c.get("resources") or {}).get("requests", {}).get(name)
        for sort, c in containers(spec)
        if sort == "containers" or (sort == "initContainers" and c.get("restartPolicy") == "Always")
    ]
    found = [quantity.parse(a) for a in amounts if a is not None]
    return quantity.canonical(str(sum(found))) if found else None
