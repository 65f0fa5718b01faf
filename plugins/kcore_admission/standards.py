"""The Pod Security Standards: which pods are fine at which level, release by release.

https://kubernetes.io/docs/concepts/security/pod-security-standards/

A check looks at a pod and returns ``(reason, detail)``, or None when the pod is fine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import attrs

from kcore.objects import Object

LEVELS = ("privileged", "baseline", "restricted")
LATEST = 10_000  # the minor version of "latest"
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
    ]
)
_SYSCTLS_27 = {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SYSCTLS_32 = {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
SE_LINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP = ("seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/")
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


@attrs.frozen(slots=True)
class Policy:
    """A level of a release: ``restricted:v1.34``."""

    level: str
    version: str
    minor: int = attrs.field(eq=False)

    @classmethod
    def parse(cls, level: str, version: str) -> Policy:
        """A version that cannot be read counts as the latest."""
        found = re.fullmatch(r"v1\.(0|[1-9][0-9]*)", version)
        return cls(level, version if found else "latest", int(found[1]) if found else LATEST)

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"


def violations(pod: Object, policy: Policy, *, names: bool = True) -> str:
    """``reason (detail), reason (detail)``; "" for none. Without `names` only the reasons."""
    found = [finding for check in checks(policy) if (finding := check(pod))]
    if not names:
        return ", ".join(reason for reason, _ in found)
    return ", ".join(f"{reason} ({detail})" if detail else reason for reason, detail in found)


def checks(policy: Policy) -> list[Check]:
    """The checks of a level, in order of their names; each in the newest form that the release knows."""
    chosen: dict[str, Check] = {}
    if policy.level != "privileged":
        chosen |= _of_release(_BASELINE, policy.minor)
    if policy.level == "restricted":
        restricted = _of_release(_RESTRICTED, policy.minor)
        for name in restricted:
            chosen.pop(_INCLUDED.get(name, ""), None)
        chosen |= restricted
    return [chosen[name] for name in sorted(chosen)]


def _of_release(table: dict[str, dict[int, Check]], minor: int) -> dict[str, Check]:
    out = {}
    for name, forms in table.items():
        known = [since for since in forms if since <= minor]
        if known:
            out[name] = forms[max(known)]
    return out


def _is_windows(spec: Object) -> bool:
    return (spec.get("os") or {}).get("name") == "windows"


def _on_linux(check: Check) -> Check:
    """Windows pods have no such thing."""
    return lambda pod: None if _is_windows(pod["spec"]) else check(pod)


def _containers(spec: Object) -> Iterator[tuple[str, Object]]:
    """(name, security context) of every container."""
    for sort in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(sort) or ():
            yield container.get("name", ""), container.get("securityContext") or {}


def _listed(word: str, names: Iterable[str]) -> str:
    """``container "a"``, ``containers "a", "b"``."""
    quoted = [f'"{n}"' for n in names]
    return f"{word}{'s' if len(quoted) > 1 else ''} {', '.join(quoted)}"


def _privilege_escalation(pod: Object) -> Finding | None:
    spec = pod["spec"]
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


def _default_capabilities(pod: Object) -> Finding | None:
    spec = pod["spec"]
    found = _added(spec, DEFAULT_CAPABILITIES)
    return ("non-default capabilities", found) if found else None


def _dropped_capabilities(pod: Object) -> Finding | None:
    spec = pod["spec"]
    keep = [n for n, c in _containers(spec) if "ALL" not in ((c.get("capabilities") or {}).get("drop") or ())]
    dropped = f'{_listed("container", keep)} must set securityContext.capabilities.drop=["ALL"]' if keep else ""
    added = _added(spec, frozenset({"NET_BIND_SERVICE"}))
    details = "; ".join(d for d in (dropped, added) if d)
    return ("unrestricted capabilities", details) if details else None


def _host_namespaces(pod: Object) -> Finding | None:
    spec = pod["spec"]
    bad = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return ("host namespaces", ", ".join(bad)) if bad else None


def _host_paths(pod: Object) -> Finding | None:
    spec = pod["spec"]
    bad = [v.get("name", "") for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return ("hostPath volumes", _listed("volume", bad)) if bad else None


def _host_ports(pod: Object) -> Finding | None:
    spec = pod["spec"]
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


def _privileged(pod: Object) -> Finding | None:
    spec = pod["spec"]
    bad = [name for name, context in _containers(spec) if context.get("privileged")]
    return ("privileged", f"{_listed('container', bad)} must not set securityContext.privileged=true") if bad else None


def _proc_mount(pod: Object) -> Finding | None:
    spec = pod["spec"]
    bad = [name for name, context in _containers(spec) if context.get("procMount") not in (None, "", "Default")]
    why = 'must not set securityContext.procMount to "Unmasked"'
    return ("procMount", f"{_listed('container', bad)} {why}") if bad else None


def _volume_types(pod: Object) -> Finding | None:
    spec = pod["spec"]
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


def _non_root(pod: Object) -> Finding | None:
    spec = pod["spec"]
    of_pod = (spec.get("securityContext") or {}).get("runAsNonRoot")
    details = ["pod must not set securityContext.runAsNonRoot=false"] if of_pod is False else []
    explicit = [name for name, c in _containers(spec) if c.get("runAsNonRoot") is False]
    if explicit:
        details.append(f"{_listed('container', explicit)} must not set securityContext.runAsNonRoot=false")
    silent = [name for name, c in _containers(spec) if c.get("runAsNonRoot") is None]
    if not details and silent and not of_pod:
        details.append(f"pod or {_listed('container', silent)} must set securityContext.runAsNonRoot=true")
    return ("runAsNonRoot != true", "; ".join(details)) if details else None


def _root_user(pod: Object) -> Finding | None:
    spec = pod["spec"]
    bad = [name for name, context in _containers(spec) if context.get("runAsUser") == 0]
    who = ["pod"] if (spec.get("securityContext") or {}).get("runAsUser") == 0 else []
    if bad:
        who.append(_listed("container", bad))
    return ("runAsUser=0", f"{' and '.join(who)} must not set runAsUser=0") if who else None


def _seccomp_type(context: Object) -> str | None:
    found: str | None = (context.get("seccompProfile") or {}).get("type")
    return found


def _no_unconfined(pod: Object) -> Finding | None:
    spec = pod["spec"]
    who = ["pod"] if _seccomp_type(spec.get("securityContext") or {}) == "Unconfined" else []
    bad = [name for name, context in _containers(spec) if _seccomp_type(context) == "Unconfined"]
    if bad:
        who.append(_listed("container", bad))
    why = 'must not set securityContext.seccompProfile.type to "Unconfined"'
    return ("seccompProfile", f"{' and '.join(who)} {why}") if who else None


def _seccomp(pod: Object) -> Finding | None:
    spec = pod["spec"]
    unconfined = _no_unconfined(pod)
    if unconfined:
        return unconfined
    if _seccomp_type(spec.get("securityContext") or {}) in SAFE_SECCOMP:
        return None
    silent = [name for name, context in _containers(spec) if _seccomp_type(context) not in SAFE_SECCOMP]
    why = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return ("seccompProfile", f"pod or {_listed('container', silent)} {why}") if silent else None


def _sysctls(safe: frozenset[str]) -> Check:
    def check(pod: Object) -> Finding | None:
        given = (pod["spec"].get("securityContext") or {}).get("sysctls") or ()
        bad = sorted(s.get("name", "") for s in given if s.get("name") not in safe)
        return ("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def _host_handlers(pod: Object) -> Finding | None:
    """Probes and hooks go to the pod itself."""
    bad = []
    for sort in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod["spec"].get(sort) or ():
            lifecycle = container.get("lifecycle") or {}
            handlers = [container.get(p) for p in ("livenessProbe", "readinessProbe", "startupProbe")]
            handlers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
            if any((h or {}).get(way, {}).get("host") for h in handlers for way in ("httpGet", "tcpSocket") if h):
                bad.append(container.get("name", ""))
    use = "use" if len(bad) > 1 else "uses"
    return ("probe or lifecycle host", f"{_listed('container', bad)} {use} probe or lifecycle host") if bad else None


def _se_linux(types: frozenset[str]) -> Check:
    def check(pod: Object) -> Finding | None:
        spec = pod["spec"]
        of_pod = (spec.get("securityContext") or {}).get("seLinuxOptions") or {}
        given = [("", of_pod), *((name, c.get("seLinuxOptions") or {}) for name, c in _containers(spec))]
        bad_types = {o["type"] for _, o in given if o.get("type") and o["type"] not in types}
        user, role = any(o.get("user") for _, o in given), any(o.get("role") for _, o in given)
        bad = [n for n, o in given if (o.get("type") and o["type"] not in types) or o.get("user") or o.get("role")]
        if not bad:
            return None
        who = ["pod"] if bad[0] == "" else []
        names = [n for n in bad if n]
        if names:
            who.append(_listed("container", names))
        details = []
        if bad_types:
            word = "types" if len(bad_types) > 1 else "type"
            details.append(f"{word} {', '.join(_quote(t) for t in sorted(bad_types))}")
        details += ["user may not be set"] if user else []
        details += ["role may not be set"] if role else []
        use = "set" if len(who) > 1 or len(names) > 1 else "sets"
        return "seLinuxOptions", f"{' and '.join(who)} {use} forbidden securityContext.seLinuxOptions: " + (
            "; ".join(details)
        )

    return check


def _quote(text: str) -> str:
    return f'"{text}"'


def _host_process(pod: Object) -> Finding | None:
    spec = pod["spec"]

    def asks(context: Object) -> bool:
        return bool((context.get("windowsOptions") or {}).get("hostProcess"))

    who = ["pod"] if asks(spec.get("securityContext") or {}) else []
    bad = [name for name, context in _containers(spec) if asks(context)]
    if bad:
        who.append(_listed("container", bad))
    why = "must not set securityContext.windowsOptions.hostProcess=true"
    return ("hostProcess", f"{' and '.join(who)} {why}") if who else None


def _app_armor(pod: Object) -> Finding | None:
    spec = pod["spec"]
    notes = (pod.get("metadata") or {}).get("annotations") or {}
    of_pod = ((spec.get("securityContext") or {}).get("appArmorProfile") or {}).get("type") or ""
    who = []
    if of_pod == "Unconfined":
        who.append("pod")
    bad = []
    for name, context in _containers(spec):
        if ((context.get("appArmorProfile") or {}).get("type") or "") == "Unconfined":
            bad.append(name)
    if bad:
        who.append(_listed("container", bad))
    wrong = []
    for key in sorted(notes):
        value = notes[key]
        if key.startswith(APP_ARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/"):
            wrong.append(f'{key}="{value}"')
    details = [f'{" and ".join(who)} must not set AppArmor profile type to "Unconfined"'] if who else []
    if wrong:
        word = "annotations" if len(wrong) > 1 else "annotation"
        details.append(f"{word} {', '.join(wrong)}")
    several = "s" if len(wrong) + len(bad) + (of_pod == "Unconfined") > 1 else ""
    return (f"forbidden AppArmor profile{several}", "; ".join(details)) if details else None


def _seccomp_annotation(pod: Object) -> Finding | None:
    """Before v1.19 the profile stood in annotations."""
    notes = (pod.get("metadata") or {}).get("annotations") or {}
    wrong = [
        f'{key}="{notes[key]}"'
        for key in sorted(notes)
        if key.startswith(SECCOMP)
        and notes[key] not in ("runtime/default", "docker/default")
        and not notes[key].startswith("localhost/")
    ]
    return ("seccompProfile", "forbidden annotation " + ", ".join(wrong)) if wrong else None


# By name, then by the minor version since which the check is as it is.
_BASELINE: dict[str, dict[int, Check]] = {
    "appArmorProfile": {0: _app_armor},
    "capabilities_baseline": {0: _default_capabilities},
    "hostNamespaces": {0: _host_namespaces},
    "hostPathVolumes": {0: _host_paths},
    "hostPorts": {0: _host_ports},
    "hostProbesAndhostLifecycle": {34: _host_handlers},
    "privileged": {0: _privileged},
    "procMount": {0: _proc_mount},
    "seLinuxOptions": {0: _se_linux(SE_LINUX_TYPES), 31: _se_linux(SE_LINUX_TYPES | {"container_engine_t"})},
    "seccompProfile_baseline": {0: _seccomp_annotation, 19: _no_unconfined},
    "sysctls": {
        0: _sysctls(SAFE_SYSCTLS),
        27: _sysctls(SAFE_SYSCTLS | _SYSCTLS_27),
        29: _sysctls(SAFE_SYSCTLS | _SYSCTLS_27 | _SYSCTLS_29),
        32: _sysctls(SAFE_SYSCTLS | _SYSCTLS_27 | _SYSCTLS_29 | _SYSCTLS_32),
    },
    "windowsHostProcess": {0: _host_process},
}
_RESTRICTED: dict[str, dict[int, Check]] = {
    "allowPrivilegeEscalation": {8: _privilege_escalation, 25: _on_linux(_privilege_escalation)},
    "capabilities_restricted": {22: _dropped_capabilities, 25: _on_linux(_dropped_capabilities)},
    "restrictedVolumes": {0: _volume_types},
    "runAsNonRoot": {0: _non_root},
    "runAsUser": {23: _root_user},
    "seccompProfile_restricted": {19: _seccomp, 25: _on_linux(_seccomp)},
}
# A restricted check that takes the place of the baseline's.
_INCLUDED = {
    "capabilities_restricted": "capabilities_baseline",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}
