"""The identity of a StatefulSet's pods: name, hostname, labels, volumes."""

from __future__ import annotations

import re

from kcore.controller import pods, revisions
from kcore.objects import Object, meta
from kcore.objects.resources import STATEFULSETS

_NAME = re.compile(r"(.*)-([0-9]+)")


def replicas(s: Object) -> int:
    return int(s["spec"].get("replicas", 1))


def start(s: Object) -> int:
    """The first ordinal."""
    return int((s["spec"].get("ordinals") or {}).get("start", 0))


def parent_name(pod: Object) -> str:
    match = _NAME.fullmatch(meta.name(pod))
    return match[1] if match else ""


def ordinal(pod: Object, s: Object) -> int:
    """-1 if the name is not one of the set's."""
    match = _NAME.fullmatch(meta.name(pod))
    return int(match[2]) if match and match[1] == meta.name(s) else -1


def revision(pod: Object) -> str:
    return meta.labels(pod).get(revisions.HASH_LABEL, "")


def claim_name(template: Object, s: Object, number: int) -> str:
    return f"{meta.name(template)}-{meta.name(s)}-{number}"


def pod_for(s: Object, number: int, of: Object) -> Object:
    """The pod of an ordinal in a revision."""
    pod = pods.pod_from_template(revisions.template_of(of), s, STATEFULSETS)
    name = f"{meta.name(s)}-{number}"
    metadata, spec = pod["metadata"], pod["spec"]
    metadata["name"] = name
    metadata.setdefault("labels", {}).update(
        {
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(number),
            revisions.HASH_LABEL: meta.name(of),
        }
    )
    spec["hostname"] = name
    if s["spec"].get("serviceName"):
        spec["subdomain"] = s["spec"]["serviceName"]
    templates = s["spec"].get("volumeClaimTemplates") or ()
    names = {meta.name(t) for t in templates}
    volumes = [v for v in spec.get("volumes") or () if v["name"] not in names]
    for t in templates:
        volumes.append({"name": meta.name(t), "persistentVolumeClaim": {"claimName": claim_name(t, s, number)}})
    if volumes:
        spec["volumes"] = volumes
    return pod
