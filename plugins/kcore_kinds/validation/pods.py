"""The rules of pods and pod templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore.objects.remembered import Remembered
from kcore_kinds.gostruct import POD_SPEC, TOLERATION, difference, go
from kcore_kinds.validation import common, containers
from kcore_kinds.validation.common import MAX_INT32, Object, one_of, problems
from kcore_kinds.validation.volumes import volumes

RESTART = ["Always", "OnFailure", "Never"]
DNS = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]
EFFECTS = ["NoSchedule", "PreferNoSchedule", "NoExecute"]
_SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_sound = Remembered(4096)
_UPDATE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod(obj: Object, old: Object | None) -> Iterator[Cause]:
    if old is None:
        yield from pod_spec("spec", obj["spec"])
    else:
        yield from _update(obj["spec"], old["spec"])


def pod_template(obj: Object, old: Object | None) -> Iterator[Cause]:
    yield from template("template", obj.get("template") or {})


def template(path: str, given: Object, claims: Iterable[str] = ()) -> Iterator[Cause]:
    """A template: labels that pods can have, and a spec. `claims` names volumes that are added to each pod."""
    meta = given.get("metadata") or {}
    yield from common.labels(f"{path}.metadata.labels", meta.get("labels"))
    yield from pod_spec(f"{path}.spec", given.get("spec") or {}, claims)


def pod_spec(path: str, spec: Object, claims: Iterable[str] = ()) -> Iterable[Cause]:
    """Every mistake in a pod's specification; most are made from templates, so that one without any is known."""
    if not claims and _sound.of(spec, lambda: not any(True for _ in _mistakes(path, spec))):
        return ()
    return _mistakes(path, spec, claims)


def _mistakes(path: str, spec: Object, claims: Iterable[str] = ()) -> Iterator[Cause]:
    yield from volumes(f"{path}.volumes", spec.get("volumes") or [])
    known: dict[str, Object] = {name: {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims}
    known |= {v.get("name", ""): v for v in spec.get("volumes") or ()}
    taken: set[str] = set()
    if not spec.get("containers"):
        yield fields.required(f"{path}.containers")
    host = spec.get("hostUsers") is not False
    given = spec.get("containers") or []
    yield from containers.containers(f"{path}.containers", given, known, taken=taken, host_users=host)
    if inits := spec.get("initContainers"):
        at = f"{path}.initContainers"
        yield from containers.containers(at, inits, known, init=True, taken=taken, host_users=host)
    if debuggers := spec.get("ephemeralContainers"):
        yield from containers.ephemeral(f"{path}.ephemeralContainers", debuggers, known, taken, host)
    if spec.get("resources"):
        yield from containers.resources(f"{path}.resources", spec["resources"])
    yield from one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART)
    yield from one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS)
    yield from common.labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    if context := spec.get("securityContext"):
        yield from _security(f"{path}.securityContext", context)
    if not host:
        yield from _own_users(path, spec)
    for i, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            yield fields.required(f"{path}.imagePullSecrets[{i}]")
    if spec.get("affinity"):
        yield from affinity(f"{path}.affinity", spec["affinity"])
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        if spec.get("dnsConfig") is None:
            yield fields.required(f"{path}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None")
        else:
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield fields.required(f"{path}.dnsConfig.nameservers", why)
    yield from _gates(path, spec)
    if constraints := spec.get("topologySpreadConstraints"):
        yield from _spreading(f"{path}.topologySpreadConstraints", constraints)
    yield from _plain(path, spec)


def _plain(path: str, spec: Object) -> Iterator[Cause]:
    """The fields of one value each."""
    for name in ("serviceAccountName", "nodeName"):
        if spec.get(name):
            yield from problems(f"{path}.{name}", spec[name], names.dns_subdomain(spec[name]))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= MAX_INT32:
        yield fields.invalid(
            f"{path}.activeDeadlineSeconds", deadline, f"must be between 1 and {MAX_INT32}, inclusive"
        )
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            yield from problems(f"{path}.{name}", spec[name], names.dns_label(spec[name]))
    yield from tolerations(f"{path}.tolerations", spec.get("tolerations") or [])
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        yield from common.ip_address(f"{path}.hostAliases[{i}].ip", alias.get("ip", ""))
        for j, host in enumerate(alias.get("hostnames") or ()):
            yield from problems(f"{path}.hostAliases[{i}].hostnames[{j}]", host, names.dns_subdomain(host))
    for name in ("priorityClassName", "runtimeClassName"):
        if spec.get(name):
            yield from problems(f"{path}.{name}", spec[name], names.dns_subdomain(spec[name]))
    policy = spec.get("preemptionPolicy")
    yield from one_of(f"{path}.preemptionPolicy", policy, ["Never", "PreemptLowerPriority"])


def _own_users(path: str, spec: Object) -> Iterator[Cause]:
    """A pod with a user namespace of its own has no other namespace of the node, and none of its block devices."""
    why = "when `hostUsers` is false"
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield fields.forbidden(f"{path}.{name}", why)
    for sort in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(sort) or ()):
            if container.get("volumeDevices"):
                yield fields.forbidden(f"{path}.{sort}[{i}].volumeDevices", why)


def _security(path: str, given: Object) -> Iterator[Cause]:
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        yield from containers.user_id(f"{path}.{name}", given.get(name))
    for i, group in enumerate(given.get("supplementalGroups") or ()):
        yield from containers.user_id(f"{path}.supplementalGroups[{i}]", group)
    seen = set()
    for i, sysctl in enumerate(given.get("sysctls") or ()):
        name = sysctl.get("name", "")
        at = f"{path}.sysctls[{i}].name"
        if not name:
            yield fields.required(at)
        elif len(name) > 253 or not re.fullmatch(_SYSCTL, name):
            yield fields.invalid(at, name, f"must have at most 253 characters and match regex {_SYSCTL}")
        elif name in seen:
            yield fields.duplicate(at, name)
        seen.add(name)
    yield from one_of(f"{path}.fsGroupChangePolicy", given.get("fsGroupChangePolicy"), ["Always", "OnRootMismatch"])
    policy = given.get("supplementalGroupsPolicy")
    yield from one_of(f"{path}.supplementalGroupsPolicy", policy, ["Merge", "Strict"])
    yield from containers.seccomp(f"{path}.seccompProfile", given.get("seccompProfile"))
    yield from containers.app_armor(f"{path}.appArmorProfile", given.get("appArmorProfile"))


def affinity(path: str, given: Object) -> Iterator[Cause]:
    node = given.get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    at = f"{path}.nodeAffinity"
    if required is not None:
        yield from node_selector(f"{at}.requiredDuringSchedulingIgnoredDuringExecution", required)
    for i, term in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        where = f"{at}.preferredDuringSchedulingIgnoredDuringExecution[{i}]"
        yield from _weight(where, term)
        yield from _node_term(f"{where}.preference", term.get("preference") or {})
    for sort in ("podAffinity", "podAntiAffinity"):
        found = given.get(sort) or {}
        for i, term in enumerate(found.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            yield from _pod_term(f"{path}.{sort}.requiredDuringSchedulingIgnoredDuringExecution[{i}]", term)
        for i, term in enumerate(found.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            where = f"{path}.{sort}.preferredDuringSchedulingIgnoredDuringExecution[{i}]"
            yield from _weight(where, term)
            yield from _pod_term(f"{where}.podAffinityTerm", term.get("podAffinityTerm") or {})


def _weight(path: str, term: Object) -> Iterator[Cause]:
    if not 1 <= term.get("weight", 0) <= 100:
        yield fields.invalid(f"{path}.weight", term.get("weight", 0), "must be in the range 1-100")


def node_selector(path: str, given: Object) -> Iterator[Cause]:
    terms = given.get("nodeSelectorTerms") or []
    if not terms:
        yield fields.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for i, term in enumerate(terms):
        yield from _node_term(f"{path}.nodeSelectorTerms[{i}]", term)


def _node_term(path: str, term: Object) -> Iterator[Cause]:
    for i, e in enumerate(term.get("matchExpressions") or ()):
        at, operator, values = f"{path}.matchExpressions[{i}]", e.get("operator"), e.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                yield fields.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield fields.forbidden(f"{at}.values", why)
        elif operator in ("Gt", "Lt"):
            if len(values) != 1:
                yield fields.required(f"{at}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        else:
            yield fields.invalid(f"{at}.operator", operator or "", "not a valid selector operator")
        yield from problems(f"{at}.key", e.get("key", ""), names.qualified_name(e.get("key", "")))
    for i, e in enumerate(term.get("matchFields") or ()):
        yield from _node_field(f"{path}.matchFields[{i}]", e)


def _node_field(at: str, e: Object) -> Iterator[Cause]:
    """Nodes are picked by one field only, their name, and by one value of it."""
    operator, values, key = e.get("operator"), e.get("values") or [], e.get("key", "")
    if operator not in ("In", "NotIn"):
        yield fields.invalid(f"{at}.operator", operator or "", "not a valid selector operator")
    elif len(values) != 1:
        why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield fields.required(f"{at}.values", why)
    if key != "metadata.name":
        yield fields.invalid(f"{at}.key", key, "not a valid field selector key")
        return
    for i, value in enumerate(values):
        yield from problems(f"{at}.values[{i}]", value, names.dns_subdomain(value))


def _pod_term(path: str, term: Object) -> Iterator[Cause]:
    yield from common.label_selector(f"{path}.labelSelector", term.get("labelSelector"))
    yield from common.label_selector(f"{path}.namespaceSelector", term.get("namespaceSelector"))
    key = term.get("topologyKey", "")
    if not key:
        yield fields.required(f"{path}.topologyKey", "can not be empty")
    yield from problems(f"{path}.topologyKey", key, names.qualified_name(key))


def _gates(path: str, spec: Object) -> Iterator[Cause]:
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        type = gate.get("conditionType", "")
        yield from problems(f"{path}.readinessGates[{i}].conditionType", type, names.qualified_name(type))
    seen = set()
    for i, gate in enumerate(spec.get("schedulingGates") or ()):
        name = gate.get("name", "")
        yield from problems(f"{path}.schedulingGates[{i}]", name, names.qualified_name(name))
        if name in seen:
            yield fields.duplicate(f"{path}.schedulingGates[{i}]", name)
        seen.add(name)


def _spreading(at: str, given: list[Object]) -> Iterator[Cause]:
    seen = set()
    for i, constraint in enumerate(given):
        path, skew, key = f"{at}[{i}]", constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        if skew <= 0:
            yield fields.invalid(f"{path}.maxSkew", skew, "must be greater than zero")
        if not key:
            yield fields.required(f"{path}.topologyKey", "can not be empty")
        else:
            yield from problems(f"{path}.topologyKey", key, names.qualified_name(key))
        action = constraint.get("whenUnsatisfiable")
        yield from one_of(f"{path}.whenUnsatisfiable", action, ["DoNotSchedule", "ScheduleAnyway"], required=True)
        pair = (key, action)
        if pair in seen:
            text = f"{{{key}, {action}}}"
            yield fields.duplicate(f"{path}.{{topologyKey, whenUnsatisfiable}}", text)
        seen.add(pair)
        domains = constraint.get("minDomains")
        if domains is not None and domains <= 0:
            yield fields.invalid(f"{path}.minDomains", domains, "must be greater than zero")
        if domains is not None and action != "DoNotSchedule":
            why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action or ''}"
            yield fields.invalid(f"{path}.minDomains", domains, why)
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            yield from one_of(f"{path}.{name}", constraint.get(name), ["Honor", "Ignore"])
        yield from common.label_selector(f"{path}.labelSelector", constraint.get("labelSelector"))


def tolerations(at: str, given: list[Object]) -> Iterator[Cause]:
    for i, toleration in enumerate(given):
        path, key = f"{at}[{i}]", toleration.get("key")
        if key:
            yield from problems(f"{path}.key", key, names.qualified_name(key))
        operator = toleration.get("operator") or "Equal"
        if not key and operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield fields.invalid(f"{path}.operator", operator, why)
        effect = toleration.get("effect")
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield fields.invalid(f"{path}.effect", effect or "", why)
        if operator == "Equal":
            value = toleration.get("value", "")
            yield from problems(f"{path}.operator", value, names.label_value(value)[:1])
        elif operator == "Exists":
            if toleration.get("value"):
                why = "value must be empty when `operator` is 'Exists'"
                yield fields.invalid(f"{path}.operator", go(TOLERATION, toleration), why)
        elif operator not in ("Lt", "Gt"):
            yield fields.not_supported(f"{path}.operator", operator, ["Equal", "Exists"])
        if effect:
            yield from one_of(f"{path}.effect", effect, EFFECTS)


# --- changes of a pod -----------------------------------------------------------------------------------------------


def _update(new: Object, old: Object) -> Iterator[Cause]:
    """A pod's spec is fixed but for images, a shorter deadline and more tolerations."""
    for sort in ("containers", "initContainers"):
        if len(new.get(sort) or ()) != len(old.get(sort) or ()):
            yield fields.forbidden(f"spec.{sort}", "pod updates may not add or remove containers")
            return
    for sort in ("containers", "initContainers"):
        for i, container in enumerate(new.get(sort) or ()):
            if not container.get("image"):
                yield fields.required(f"spec.{sort}[{i}].image")
    yield from _deadline(new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    before, after = old.get("tolerations") or [], new.get("tolerations") or []
    lost = [t for t in before if not any(_same_toleration(t, n) for n in after)]
    if lost:
        yield fields.forbidden(
            "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
        )
        return
    gates = [g.get("name") for g in old.get("schedulingGates") or ()]
    for i, gate in enumerate(new.get("schedulingGates") or ()):
        if gate.get("name") not in gates:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            yield fields.forbidden(f"spec.schedulingGates[{i}]", why)
            return
    if _fixed(new, gated=bool(gates)) != _fixed(old, gated=bool(gates)):
        yield fields.forbidden("spec", f"{_UPDATE}\n{difference(POD_SPEC, old, _munged(new, old))}")


def _munged(new: Object, old: Object) -> Object:
    """The new spec with the old values of all that may change: what differs then is what was wrong."""
    out = dict(new)
    for name in ("activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers"):
        out.pop(name, None)
        if name in old:
            out[name] = old[name]
    if (old.get("terminationGracePeriodSeconds") or 0) < 0 and new.get("terminationGracePeriodSeconds") == 1:
        out["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    for sort in ("containers", "initContainers"):
        if sort in out:
            out[sort] = [{**c, "image": was.get("image")} for c, was in zip(out[sort], old[sort], strict=True)]
    return out


def _deadline(new: int | None, old: int | None) -> Iterator[Cause]:
    path = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            why = "must not update from a positive integer to nil value"
            yield fields.invalid(path, None, why)
        return
    if not 0 <= new <= MAX_INT32:
        yield fields.invalid(path, new, f"must be between 0 and {MAX_INT32}, inclusive")
    elif old is not None and new > old:
        yield fields.invalid(path, new, "must be less than or equal to previous value")


def _same_toleration(a: Object, b: Object) -> bool:
    return {**a, "tolerationSeconds": 0} == {**b, "tolerationSeconds": 0}


def _fixed(spec: Object, *, gated: bool) -> Object:
    """What of a spec may not change. While gates hold the pod back, its placement may still be narrowed."""
    free = {"activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers"}
    if gated:
        free |= {"nodeSelector", "affinity"}
    out = {k: v for k, v in spec.items() if k not in free}
    if out.get("terminationGracePeriodSeconds") == 1 or (out.get("terminationGracePeriodSeconds") or 0) < 0:
        out["terminationGracePeriodSeconds"] = 1
    for sort in ("containers", "initContainers"):
        if sort in out:
            out[sort] = [{k: v for k, v in c.items() if k != "image"} for c in out[sort] or ()]
    return out
