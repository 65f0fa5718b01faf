"""The rules of containers: of any sort, in pods and in templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from kcore.api import fields, names
from kcore.errors import Cause
from kcore.objects import quantity
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, one_of, problems

PULL = ["Always", "IfNotPresent", "Never"]
PROTOCOLS = ["SCTP", "TCP", "UDP"]
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
STANDARD = ("cpu", "memory", "ephemeral-storage", "storage")
FIELD_PATHS = {
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
}
RESOURCE_PATHS = ["limits.cpu", "limits.ephemeral-storage", "limits.memory"]


def containers(
    at: str,
    given: list[Object],
    volumes: dict[str, Object],
    *,
    init: bool = False,
    taken: set[str] | None = None,
    host_users: bool = True,
) -> Iterator[Cause]:
    """A list of containers; names in `taken` belong to containers of another sort, and are added to.

    `host_users`: the pod has no user namespace of its own.
    """
    taken = set() if taken is None else taken
    for i, container in enumerate(given):
        path, name = f"{at}[{i}]", container.get("name", "")
        yield from _common(path, container, volumes, host_users)
        if name and name in taken:
            yield fields.duplicate(f"{path}.name", name)
        taken.add(name)
        yield from _lifecycle_and_probes(path, container, init=init)
    yield from _host_ports(at, given)


def ephemeral(
    at: str, given: list[Object], volumes: dict[str, Object], taken: set[str], host_users: bool = True
) -> Iterator[Cause]:
    """Containers for debugging: without ports, probes and resources, in one of the pod's containers' namespaces."""
    known = set(taken)
    for i, container in enumerate(given):
        path = f"{at}[{i}]"
        yield from _common(path, container, volumes, host_users)
        if container.get("name") and container["name"] in taken:
            yield fields.duplicate(f"{path}.name", container["name"])
        taken.add(container.get("name", ""))
        target = container.get("targetContainerName")
        if target and target not in known:
            yield fields.not_found(f"{path}.targetContainerName", target)
        for name in ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
            if container.get(name):
                yield fields.forbidden(f"{path}.{name}", "cannot be set for an Ephemeral Container")


def _common(path: str, container: Object, volumes: dict[str, Object], host_users: bool) -> Iterator[Cause]:
    yield from common.named(f"{path}.name", container.get("name"), names.dns_label)
    image = container.get("image") or ""
    if not image:
        yield fields.required(f"{path}.image")
    elif image != image.strip():
        yield fields.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    policy = container.get("terminationMessagePolicy")
    yield from one_of(f"{path}.terminationMessagePolicy", policy, ["File", "FallbackToLogsOnError"])
    if ports := container.get("ports"):
        yield from _ports(f"{path}.ports", ports)
    if variables := container.get("env"):
        yield from env(f"{path}.env", variables)
    if sources := container.get("envFrom"):
        yield from _env_from(f"{path}.envFrom", sources)
    if mounts := container.get("volumeMounts"):
        yield from _mounts(f"{path}.volumeMounts", mounts, volumes)
    if devices := container.get("volumeDevices"):
        yield from _devices(f"{path}.volumeDevices", devices, volumes)
    yield from one_of(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL)
    if amounts := container.get("resources"):
        yield from resources(f"{path}.resources", amounts)
    if context := container.get("securityContext"):
        yield from security_context(f"{path}.securityContext", context, host_users)


def _ports(at: str, ports: list[Object]) -> Iterator[Cause]:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        path, name = f"{at}[{i}]", port.get("name")
        if name:
            wrong = common.port_name(name)
            yield from problems(f"{path}.name", name, wrong)
            if not wrong and name in seen:
                yield fields.duplicate(f"{path}.name", name)
            seen.add(name)
        if not port.get("containerPort"):
            yield fields.required(f"{path}.containerPort")
        else:
            yield from common.port_number(f"{path}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            yield from common.port_number(f"{path}.hostPort", port["hostPort"])
        yield from one_of(f"{path}.protocol", port.get("protocol"), PROTOCOLS, required=True)


def _host_ports(at: str, given: list[Object]) -> Iterator[Cause]:
    """No two containers of a pod take the same port of the node."""
    taken = set()
    for i, container in enumerate(given):
        for j, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                key = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}"
                if key in taken:
                    yield fields.duplicate(f"{at}[{i}].ports[{j}].hostPort", key)
                taken.add(key)


_ENV_NAME = re.compile("[ -<>-~]*").fullmatch


def env_name(name: str) -> list[str]:
    if _ENV_NAME(name):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def env(at: str, given: list[Object]) -> Iterator[Cause]:
    for i, variable in enumerate(given):
        path = f"{at}[{i}]"
        yield from common.named(f"{path}.name", variable.get("name"), env_name)
        source = variable.get("valueFrom")
        if source is not None:
            yield from _env_source(f"{path}.valueFrom", source, has_value=bool(variable.get("value")))


def _env_source(path: str, source: Object, *, has_value: bool) -> Iterator[Cause]:
    count = 0
    for name in ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"):
        ref = source.get(name)
        if ref is None:
            continue
        count += 1
        if name == "fieldRef":
            yield from field_ref(f"{path}.fieldRef", ref, FIELD_PATHS)
        elif name == "resourceFieldRef":
            yield from resource_ref(f"{path}.resourceFieldRef", ref)
        elif name in ("configMapKeyRef", "secretKeyRef"):
            if not ref.get("name"):
                yield fields.required(f"{path}.{name}.name")
            yield from common.named(f"{path}.{name}.key", ref.get("key"), names.config_map_key)
    if not count:
        yield fields.invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, "
                             "`secretKeyRef` or `fileKeyRef`")  # fmt: skip
    elif has_value:
        yield fields.invalid(path, "", "may not be specified when `value` is not empty")
    elif count > 1:
        yield fields.invalid(path, "", "may not have more than one field specified at a time")


def field_ref(path: str, ref: Object, allowed: set[str]) -> Iterator[Cause]:
    """A field of the pod as a value."""
    if not ref.get("apiVersion"):
        yield fields.required(f"{path}.apiVersion")
        return
    field = ref.get("fieldPath")
    if not field:
        yield fields.required(f"{path}.fieldPath")
        return
    plain, bracket, rest = field.partition("['")
    if bracket and rest.endswith("']") and plain in ("metadata.labels", "metadata.annotations"):
        key = rest[:-2]
        found = names.qualified_name(key.lower() if plain.endswith("annotations") else key)
        yield from problems(path, key, found)
        return
    if field in allowed:
        return
    known = FIELD_PATHS | {"metadata.labels", "metadata.annotations"}
    if field in known:
        yield fields.not_supported(f"{path}.fieldPath", field, sorted(allowed))
    else:
        why = f"error converting fieldPath: field label not supported: {field}"
        yield fields.invalid(f"{path}.fieldPath", field, why)


def resource_ref(path: str, ref: Object) -> Iterator[Cause]:
    resource = ref.get("resource")
    if not resource:
        yield fields.required(f"{path}.resource")
        return
    kind, _, name = resource.partition(".")
    if kind not in ("limits", "requests") or (name not in STANDARD[:3] and not name.startswith("hugepages-")):
        choices = sorted([*RESOURCE_PATHS, *(r.replace("limits", "requests") for r in RESOURCE_PATHS)])
        yield fields.not_supported(f"{path}.resource", resource, choices)


def _env_from(at: str, given: list[Object]) -> Iterator[Cause]:
    for i, source in enumerate(given):
        path = f"{at}[{i}]"
        if source.get("prefix"):
            yield from problems(f"{path}.prefix", source["prefix"], env_name(source["prefix"]))
        refs = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        for name in refs:
            if not source[name].get("name"):
                yield fields.required(f"{path}.{name}.name")
        if not refs:
            yield fields.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(refs) > 1:
            yield fields.invalid(at, "", "may not have more than one field specified at a time")


def _mounts(at: str, mounts: list[Object], volumes: dict[str, Object]) -> Iterator[Cause]:
    paths: set[str] = set()
    for i, mount in enumerate(mounts):
        path, name, where = f"{at}[{i}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            yield fields.required(f"{path}.name")
        elif name not in volumes:
            yield fields.not_found(f"{path}.name", name)
        if not where:
            yield fields.required(f"{path}.mountPath")
        if where in paths:
            yield fields.invalid(f"{path}.mountPath", where, "must be unique")
        paths.add(where)
        if mount.get("subPath"):
            yield from common.relative_path(f"{at}.subPath", mount["subPath"])
        if mount.get("subPathExpr"):
            if mount.get("subPath"):
                yield fields.invalid(
                    f"{at}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
                )
            yield from common.relative_path(f"{at}.subPathExpr", mount["subPathExpr"])
        propagation = mount.get("mountPropagation")
        yield from one_of(f"{path}.mountPropagation", propagation, ["Bidirectional", "HostToContainer", "None"])


def _devices(path: str, devices: list[Object], volumes: dict[str, Object]) -> Iterator[Cause]:
    names_seen: set[str] = set()
    for i, device in enumerate(devices):
        at, name = f"{path}[{i}]", device.get("name", "")
        if not name:
            yield fields.required(f"{at}.name")
        elif name in names_seen:
            yield fields.invalid(f"{at}.name", name, "must be unique")
        elif name not in volumes:
            yield fields.not_found(f"{at}.name", name)
        names_seen.add(name)
        if not device.get("devicePath"):
            yield fields.required(f"{at}.devicePath")


def resource_name(name: str) -> list[str]:
    if name in STANDARD or name.startswith("hugepages-"):
        return []
    if "/" not in name:
        return ["must be a standard resource type or fully qualified", "must be a standard resource for containers"]
    return names.qualified_name(name)


def resources(at: str, given: Object) -> Iterator[Cause]:
    """Requests and limits: names that are known, amounts that are not negative, requests within limits."""
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    basic = huge = False
    for what, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            path = f"{at}.{what}[{name}]"
            yield from problems(path, name, resource_name(name))
            yield from _amount(path, name, amount)
            basic = basic or name in ("cpu", "memory")
            huge = huge or name.startswith("hugepages-")
            if what == "requests":
                yield from _within(at, name, amount, limits.get(name))
    if huge and not basic:
        yield fields.forbidden(at, "HugePages require cpu or memory")


def _amount(path: str, name: str, amount: Any) -> Iterable[Cause]:
    value = quantity.parse(amount)
    if value < 0:
        return (fields.invalid(path, str(amount), common.NOT_NEGATIVE),)
    if "/" in name and value != value.to_integral_value():
        return (fields.invalid(path, str(amount), "must be an integer"),)
    return ()


def _within(at: str, name: str, amount: Any, limit: Any) -> Iterator[Cause]:
    if limit is None:
        return
    whole = "/" in name or name.startswith("hugepages-")  # such are not shared: a request is its limit
    if whole and quantity.parse(amount) != quantity.parse(limit):
        yield fields.invalid(f"{at}.requests", str(amount), f"must be equal to {name} limit of {limit}")
    elif quantity.parse(amount) > quantity.parse(limit):
        yield fields.invalid(f"{at}.requests", str(amount), f"must be less than or equal to {name} limit of {limit}")


def security_context(path: str, given: Object | None, host_users: bool) -> Iterator[Cause]:
    if given is None:
        return
    for name in ("runAsUser", "runAsGroup"):
        yield from user_id(f"{path}.{name}", given.get(name))
    yield from one_of(f"{path}.procMount", given.get("procMount"), ["Default", "Unmasked"])
    if given.get("procMount") == "Unmasked" and host_users:
        yield fields.invalid(f"{path}.procMount", "Unmasked", "`hostUsers` must be false to use `Unmasked`")
    yield from seccomp(f"{path}.seccompProfile", given.get("seccompProfile"))
    yield from app_armor(f"{path}.appArmorProfile", given.get("appArmorProfile"))
    if given.get("allowPrivilegeEscalation") is False:
        if given.get("privileged"):
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            yield fields.invalid(path, _internal(given), why)
        added = (given.get("capabilities") or {}).get("add") or ()
        if "CAP_SYS_ADMIN" in added:
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield fields.invalid(path, _internal(given), why)


_INTERNAL = (
    "capabilities",
    "privileged",
    "seLinuxOptions",
    "windowsOptions",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "readOnlyRootFilesystem",
    "allowPrivilegeEscalation",
    "procMount",
    "seccompProfile",
    "appArmorProfile",
)


def _internal(given: Object) -> Object:
    """A security context as the server prints its internal form."""
    out: Object = {}
    for name in _INTERNAL:
        value = given.get(name)
        if name in ("seccompProfile", "appArmorProfile") and value is not None:
            value = {"Type": value.get("type", ""), "LocalhostProfile": value.get("localhostProfile")}
        elif name == "capabilities" and value is not None:
            value = {"Add": value.get("add"), "Drop": value.get("drop")}
        out["SELinuxOptions" if name == "seLinuxOptions" else name[0].upper() + name[1:]] = value
    return out


def user_id(path: str, value: Any) -> Iterable[Cause]:
    if value is not None and not 0 <= value <= common.MAX_INT32:
        return (fields.invalid(path, value, f"must be between 0 and {common.MAX_INT32}, inclusive"),)
    return ()


def seccomp(path: str, given: Object | None) -> Iterator[Cause]:
    if given is None:
        return
    type, profile = given.get("type"), given.get("localhostProfile")
    if type == "Localhost":
        if profile is None:
            yield fields.required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            yield from common.relative_path(f"{path}.localhostProfile", profile)
    elif profile is not None:
        yield fields.invalid(f"{path}.localhostProfile", profile, "can only be set when seccomp type is Localhost")
    elif not type:
        yield fields.required(f"{path}.type", "type is required when seccompProfile is set")
    elif type not in ("RuntimeDefault", "Unconfined"):
        yield fields.not_supported(f"{path}.type", type, ["Localhost", "RuntimeDefault", "Unconfined"])


_MAX_PROFILE = 4095  # the longest name of a profile that AppArmor takes


def app_armor(path: str, given: Object | None) -> Iterator[Cause]:
    if given is None:
        return
    type, profile, where = given.get("type"), given.get("localhostProfile"), f"{path}.localhostProfile"
    if type == "Localhost":
        if profile and profile != profile.strip():
            yield fields.invalid(where, profile, "must not be padded with whitespace")
        elif not profile:
            yield fields.required(where, "must be set when AppArmor type is Localhost")
        if profile and len(profile.encode()) > _MAX_PROFILE:
            yield fields.too_long(where, _MAX_PROFILE)
    elif not type:
        yield fields.required(f"{path}.type", "type is required when appArmorProfile is set")
    elif type not in ("RuntimeDefault", "Unconfined"):
        yield fields.not_supported(f"{path}.type", type, ["Localhost", "RuntimeDefault", "Unconfined"])
    elif profile is not None:
        yield fields.invalid(where, profile, "can only be set when AppArmor type is Localhost")


def _lifecycle_and_probes(path: str, container: Object, *, init: bool) -> Iterator[Cause]:
    sidecar = container.get("restartPolicy") == "Always"
    if init and not sidecar:
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(name) is not None:
                why = "may not be set for init containers without restartPolicy=Always"
                yield fields.forbidden(f"{path}.{name}", why)
        return
    for name in ("postStart", "preStop"):
        hook = (container.get("lifecycle") or {}).get(name)
        if hook is not None:
            yield from handler(f"{path}.lifecycle.{name}", hook, HANDLERS)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        yield from _probe(f"{path}.{name}", probe)
        if name != "readinessProbe" and probe.get("successThreshold") != 1:
            yield fields.invalid(f"{path}.{name}.successThreshold", probe.get("successThreshold"), "must be 1")


def _probe(path: str, probe: Object) -> Iterator[Cause]:
    yield from handler(path, probe, HANDLERS[:4])
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from common.not_negative(f"{path}.{name}", probe.get(name))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        yield fields.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def handler(path: str, given: Object, allowed: tuple[str, ...]) -> Iterator[Cause]:
    """Exactly one way to act on a container."""
    found = [name for name in allowed if given.get(name) is not None]
    for name in found[1:]:
        yield fields.forbidden(f"{path}.{name}", "may not specify more than 1 handler type")
    if not found:
        yield fields.required(path, "must specify a handler type")
        return
    name, action = found[0], given[found[0]]
    at = f"{path}.{name}"
    if name == "exec" and not action.get("command"):
        yield fields.required(f"{at}.command")
    elif name == "httpGet":
        if not action.get("path"):
            yield fields.required(f"{at}.path")
        yield from common.port(f"{at}.port", action.get("port"))
        yield from one_of(f"{at}.scheme", action.get("scheme"), ["HTTP", "HTTPS"])
    elif name == "tcpSocket":
        yield from common.port(f"{at}.port", action.get("port"))
    elif name == "grpc":
        yield from common.port_number(f"{at}.port", action.get("port"))
