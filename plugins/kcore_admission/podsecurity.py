"""PodSecurity: pods keep to the Pod Security Standard that their namespace's labels name.

https://kubernetes.io/docs/concepts/security/pod-security-standards/

A check looks at a pod's spec and returns ``(reason, detail)``, or None when the pod is fine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kcore.api.admission import AdmissionRequest
from kcore.objects import Object
from kcore.objects.resources import NAMESPACES
from kcore_admission.base import Plugin, forbidden

LABEL = "pod-security.kubernetes.io/"
# Where the pod's spec stands in kinds that have a template.
TEMPLATES = {
    "replicationcontrollers": ("spec", "template"),
    "podtemplates": ("template",),
    "deployments.apps": ("spec", "template"),
    "replicasets.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
}
DEFAULT_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
SAFE_SYSCTLS = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ]
)
SAFE_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
        "image",
    ]
)
SAFE_SECCOMP = ("RuntimeDefault", "Localhost")

Finding = tuple[str, str]
Check = Callable[[Object], Finding | None]


class PodSecurity(Plugin):
    name = "PodSecurity"
    looks_at = (NAMESPACES,)

    def handles(self, request: AdmissionRequest) -> bool:
        if request.operation not in ("CREATE", "UPDATE") or request.subresource not in ("", "ephemeralcontainers"):
            return False
        return request.kind.resource == "pods" or request.kind.resource in TEMPLATES

    async def validate(self, request: AdmissionRequest) -> None:
        namespace = await self.seen["namespaces"].get(request.namespace)
        labels = (namespace or {}).get("metadata", {}).get("labels") or {}
        if not any(name.startswith(LABEL) for name in labels):
            return
        spec = self._spec(request, request.obj)
        if spec is None or spec == self._spec(request, request.old):
            return
        if request.kind.resource == "pods":
            found = _violations(spec, labels, "enforce")
            if found:
                raise forbidden(request, f"violates PodSecurity {found}")
        found = _violations(spec, labels, "warn")
        if found:
            request.warnings.append(f"would violate PodSecurity {found}")

    @staticmethod
    def _spec(request: AdmissionRequest, obj: Object | None) -> Object | None:
        for member in TEMPLATES.get(request.kind.resource, ()):
            obj = (obj or {}).get(member)
        spec: Object | None = (obj or {}).get("spec")
        return spec


def _violations(spec: Object, labels: dict[str, str], mode: str) -> str:
    """``"restricted:latest": this (that), ...``; "" for none."""
    level = labels.get(LABEL + mode, "privileged")
    found = [check(spec) for check in CHECKS.get(level, ())]
    text = ", ".join(f"{f[0]} ({f[1]})" if f[1] else f[0] for f in found if f)
    return f'"{level}:{labels.get(f"{LABEL}{mode}-version", "latest")}": {text}' if text else ""


def _containers(spec: Object) -> Iterator[tuple[str, Object]]:
    """(name, security context) of every container."""
    for sort in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(sort) or ():
            yield container.get("name", ""), container.get("securityContext") or {}


def _listed(word: str, names: Iterable[str]) -> str:
    """``container "a"``, ``containers "a", "b"``."""
    quoted = [f'"{n}"' for n in names]
    return f"{word}{'s' if len(quoted) > 1 else ''} {', '.join(quoted)}"


def _privilege_escalation(spec: Object) -> Finding | None:
    bad = [name for name, context in _containers(spec) if context.get("allowPrivilegeEscalation") is not False]
    why = "must set securityContext.allowPrivilegeEscalation=false"
    return ("allowPrivilegeEscalation != false", f"{_listed('container', bad)} {why}") if bad else None


def _added(spec: Object, allowed: frozenset[str]) -> str:
    bad: list[str] = []
    capabilities: set[str] = set()
    for name, context in _containers(spec):
        extra = {c for c in (context.get("capabilities") or {}).get("add") or () if c not in allowed}
        if extra:
            bad.append(name)
            capabilities |= extra
    if not bad:
        return ""
    quoted = ", ".join(f'"{c}"' for c in sorted(capabilities))
    return f"{_listed('container', bad)} must not include {quoted} in securityContext.capabilities.add"


def _default_capabilities(spec: Object) -> Finding | None:
    found = _added(spec, DEFAULT_CAPABILITIES)
    return ("non-default capabilities", found) if found else None


def _dropped_capabilities(spec: Object) -> Finding | None:
    keep = [n for n, c in _containers(spec) if "ALL" not in ((c.get("capabilities") or {}).get("drop") or ())]
    dropped = f'{_listed("container", keep)} must set securityContext.capabilities.drop=["ALL"]' if keep else ""
    added = _added(spec, frozenset({"NET_BIND_SERVICE"}))
    details = "; ".join(d for d in (dropped, added) if d)
    return ("unrestricted capabilities", details) if details else None


def _host_namespaces(spec: Object) -> Finding | None:
    bad = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return ("host namespaces", ", ".join(bad)) if bad else None


def _host_paths(spec: Object) -> Finding | None:
    bad = [v.get("name", "") for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return ("hostPath volumes", _listed("volume", bad)) if bad else None


def _host_ports(spec: Object) -> Finding | None:
    bad: list[str] = []
    ports: list[int] = []
    for sort in ("initContainers", "containers"):
        for container in spec.get(sort) or ():
            taken = [p["hostPort"] for p in container.get("ports") or () if p.get("hostPort")]
            if taken:
                bad.append(container.get("name", ""))
                ports += taken
    if not bad:
        return None
    use = "use" if len(bad) > 1 else "uses"
    plural = "hostPorts" if len(ports) > 1 else "hostPort"
    return "hostPort", f"{_listed('container', bad)} {use} {plural} {', '.join(map(str, sorted(ports)))}"


def _privileged(spec: Object) -> Finding | None:
    bad = [name for name, context in _containers(spec) if context.get("privileged")]
    return ("privileged", f"{_listed('container', bad)} must not set securityContext.privileged=true") if bad else None


def _proc_mount(spec: Object) -> Finding | None:
    bad = [name for name, context in _containers(spec) if context.get("procMount") not in (None, "", "Default")]
    why = 'must not set securityContext.procMount to "Unmasked"'
    return ("procMount", f"{_listed('container', bad)} {why}") if bad else None


def _volume_types(spec: Object) -> Finding | None:
    bad, types = [], set()
    for volume in spec.get("volumes") or ():
        extra = [t for t in volume if t != "name" and t not in SAFE_VOLUMES]
        if extra:
            bad.append(volume.get("name", ""))
            types |= set(extra)
    if not bad:
        return None
    quoted = ", ".join(f'"{t}"' for t in sorted(types))
    use, plural = ("use", "types") if len(bad) > 1 else ("uses", "type")
    return "restricted volume types", f"{_listed('volume', bad)} {use} restricted volume {plural} {quoted}"


def _non_root(spec: Object) -> Finding | None:
    of_pod = (spec.get("securityContext") or {}).get("runAsNonRoot")
    details = ["pod must not set securityContext.runAsNonRoot=false"] if of_pod is False else []
    explicit = [name for name, c in _containers(spec) if c.get("runAsNonRoot") is False]
    if explicit:
        details.append(f"{_listed('container', explicit)} must not set securityContext.runAsNonRoot=false")
    silent = [name for name, c in _containers(spec) if c.get("runAsNonRoot") is None]
    if not details and silent and not of_pod:
        details.append(f"pod or {_listed('container', silent)} must set securityContext.runAsNonRoot=true")
    return ("runAsNonRoot != true", "; ".join(details)) if details else None


def _root_user(spec: Object) -> Finding | None:
    bad = [name for name, context in _containers(spec) if context.get("runAsUser") == 0]
    who = ["pod"] if (spec.get("securityContext") or {}).get("runAsUser") == 0 else []
    if bad:
        who.append(_listed("container", bad))
    return ("runAsUser=0", f"{' and '.join(who)} must not set runAsUser=0") if who else None


def _seccomp_type(context: Object) -> str | None:
    found: str | None = (context.get("seccompProfile") or {}).get("type")
    return found


def _no_unconfined(spec: Object) -> Finding | None:
    who = ["pod"] if _seccomp_type(spec.get("securityContext") or {}) == "Unconfined" else []
    bad = [name for name, context in _containers(spec) if _seccomp_type(context) == "Unconfined"]
    if bad:
        who.append(_listed("container", bad))
    why = 'must not set securityContext.seccompProfile.type to "Unconfined"'
    return ("seccompProfile", f"{' and '.join(who)} {why}") if who else None


def _seccomp(spec: Object) -> Finding | None:
    unconfined = _no_unconfined(spec)
    if unconfined:
        return unconfined
    if _seccomp_type(spec.get("securityContext") or {}) in SAFE_SECCOMP:
        return None
    silent = [name for name, context in _containers(spec) if _seccomp_type(context) not in SAFE_SECCOMP]
    why = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return ("seccompProfile", f"pod or {_listed('container', silent)} {why}") if silent else None


def _sysctls(spec: Object) -> Finding | None:
    given = (spec.get("securityContext") or {}).get("sysctls") or ()
    bad = sorted(s.get("name", "") for s in given if s.get("name") not in SAFE_SYSCTLS)
    return ("forbidden sysctls", ", ".join(bad)) if bad else None


_BASELINE: dict[str, Check] = {
    "capabilities": _default_capabilities,
    "hostNamespaces": _host_namespaces,
    "hostPathVolumes": _host_paths,
    "hostPorts": _host_ports,
    "privileged": _privileged,
    "procMount": _proc_mount,
    "seccompProfile": _no_unconfined,
    "sysctls": _sysctls,
}
# A restricted check takes the place of the baseline's that it includes; all are reported in order of their names.
_RESTRICTED: dict[str, Check] = {
    **{name: check for name, check in _BASELINE.items() if name != "hostPathVolumes"},
    "allowPrivilegeEscalation": _privilege_escalation,
    "capabilities": _dropped_capabilities,
    "restrictedVolumes": _volume_types,
    "runAsNonRoot": _non_root,
    "runAsUser": _root_user,
    "seccompProfile": _seccomp,
}
CHECKS: dict[str, tuple[Check, ...]] = {
    "baseline": tuple(_BASELINE[name] for name in sorted(_BASELINE)),
    "restricted": tuple(_RESTRICTED[name] for name in sorted(_RESTRICTED)),
}
