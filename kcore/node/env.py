"""The environment of a container: service variables, envFrom, env; in that order, the later wins.

Kubernetes docs: "Define Environment Variables for a Container", "Service: environment variables". A ConfigMap or
Secret that is missing and not optional keeps the container from being created (CreateContainerConfigError).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from kcore.node.expansion import expand
from kcore.node.fields import BadReference, field, resource
from kcore.node.references import Lookup
from kcore.objects import Object
from kcore.objects.resources import CONFIGMAPS, GVR, SECRETS

_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


async def environment(
    pod: Object,
    container: Object,
    lookup: Lookup,
    services: Iterable[Object],
    *,
    ips: tuple[str, ...],
    host_ip: str,
    allocatable: Mapping[str, str],
) -> dict[str, str]:
    """All variables of the container. Raises BadReference."""
    namespace = pod["metadata"]["namespace"]
    out: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for key, value in (await _all_of(source, namespace, lookup)).items():
            name = source.get("prefix", "") + key
            if _NAME.fullmatch(name):
                out[name] = value
    links = service_variables(services, namespace, links=pod["spec"].get("enableServiceLinks", True))
    known: dict[str, str] = {**links, **out}
    own: dict[str, str] = {}
    for entry in container.get("env") or ():
        if "valueFrom" in entry:
            found = await _value_from(entry["valueFrom"], pod, container, lookup, ips, host_ip, allocatable)
            if found is None:
                continue
        else:
            found = expand(entry.get("value", ""), known)
        own[entry["name"]] = known[entry["name"]] = found
    return {**links, **out, **own}


async def _all_of(source: Object, namespace: str, lookup: Lookup) -> dict[str, str]:
    if "configMapRef" in source:
        ref = source["configMapRef"]
        found = await _referred(CONFIGMAPS, ref, namespace, lookup, "configmap")
        return dict((found or {}).get("data") or {})
    if "secretRef" in source:
        found = await _referred(SECRETS, source["secretRef"], namespace, lookup, "secret")
        return {k: secret_bytes(v).decode(errors="replace") for k, v in ((found or {}).get("data") or {}).items()}
    return {}


async def _value_from(
    source: Object,
    pod: Object,
    container: Object,
    lookup: Lookup,
    ips: tuple[str, ...],
    host_ip: str,
    allocatable: Mapping[str, str],
) -> str | None:
    namespace = pod["metadata"]["namespace"]
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"], ips, host_ip)
    if "resourceFieldRef" in source:
        ref = source["resourceFieldRef"]
        name = ref.get("containerName") or container["name"]
        return resource(pod, name, ref["resource"], str(ref.get("divisor", "1")), allocatable)
    if "configMapKeyRef" in source:
        ref = source["configMapKeyRef"]
        found = await _referred(CONFIGMAPS, ref, namespace, lookup, "configmap")
        value = _key(found, ref, namespace, "ConfigMap")
        return None if value is None else str(value)
    if "secretKeyRef" in source:
        ref = source["secretKeyRef"]
        found = await _referred(SECRETS, ref, namespace, lookup, "secret")
        value = _key(found, ref, namespace, "Secret")
        return None if value is None else secret_bytes(value).decode(errors="replace")
    raise BadReference(f"unsupported environment source: {', '.join(source)}")


async def _referred(kind: GVR, ref: Object, namespace: str, lookup: Lookup, word: str) -> Object | None:
    found = await lookup(kind, namespace, ref.get("name", ""))
    if found is None and not ref.get("optional"):
        raise BadReference(f'{word} "{ref.get("name", "")}" not found')
    return found


def _key(found: Object | None, ref: Object, namespace: str, word: str) -> Any:
    data = (found or {}).get("data") or {}
    if ref["key"] in data:
        return data[ref["key"]]
    if ref.get("optional"):
        return None
    raise BadReference(f"couldn't find key {ref['key']} in {word} {namespace}/{ref.get('name', '')}")


def secret_bytes(value: str) -> bytes:
    """A Secret's value. The API has checked that it is base64."""
    return base64.b64decode(value)


def service_variables(services: Iterable[Object], namespace: str, *, links: bool) -> dict[str, str]:
    """REDIS_SERVICE_HOST and the rest, for services of the pod's namespace; always those of default/kubernetes."""
    out: dict[str, str] = {}
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        master = meta["name"] == "kubernetes" and meta["namespace"] == "default"
        address = spec.get("clusterIP", "")
        if not address or address == "None" or not (master or (links and meta["namespace"] == namespace)):
            continue
        _variables_of(meta["name"].upper().replace("-", "_"), address, spec.get("ports") or [], out)
    return out


def _variables_of(prefix: str, address: str, ports: list[Object], out: dict[str, str]) -> None:
    out[f"{prefix}_SERVICE_HOST"] = address
    for i, port in enumerate(ports):
        number, protocol = port["port"], port.get("protocol", "TCP")
        url = f"{protocol.lower()}://{address}:{number}"
        if i == 0:
            out[f"{prefix}_SERVICE_PORT"] = str(number)
            out[f"{prefix}_PORT"] = url
        if port.get("name"):
            out[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(number)
        at = f"{prefix}_PORT_{number}_{protocol}"
        out.update({at: url, f"{at}_PROTO": protocol.lower(), f"{at}_PORT": str(number), f"{at}_ADDR": address})
