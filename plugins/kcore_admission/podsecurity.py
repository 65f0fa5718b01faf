"""PodSecurity: pods keep to the Pod Security Standard that their namespace's labels name.

https://kubernetes.io/docs/concepts/security/pod-security-admission/
"""

from __future__ import annotations

from typing import Any

from kcore import errors
from kcore.api.admission import AdmissionRequest
from kcore.objects import Object
from kcore.objects.resources import NAMESPACES, PODS
from kcore.registry import Context
from kcore_admission.base import Plugin, forbidden
from kcore_admission.config import PodSecurityConfig
from kcore_admission.standards import LEVELS, Policy, violations

LABEL = "pod-security.kubernetes.io/"
MODES = ("enforce", "audit", "warn")
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
MAX_PODS = 3000  # how many pods of a namespace are looked at when its level changes


class PodSecurity(Plugin):
    name = "PodSecurity"
    looks_at = (NAMESPACES,)

    def __init__(self, context: Context, config: PodSecurityConfig | None = None):
        super().__init__(context)
        self._config = config if isinstance(config, PodSecurityConfig) else PodSecurityConfig()
        defaults = self._config.defaults
        self._defaults = {
            mode: Policy.parse(getattr(defaults, mode), getattr(defaults, f"{mode}_version")) for mode in MODES
        }
        self._quiet = all(policy.level == "privileged" for policy in self._defaults.values())

    def handles(self, request: AdmissionRequest) -> bool:
        if request.operation not in ("CREATE", "UPDATE"):
            return False
        resource = request.kind.resource
        if resource == "namespaces":
            return not request.subresource and request.operation == "UPDATE"
        if resource == "pods":
            return request.subresource in ("", "ephemeralcontainers")
        return resource in TEMPLATES and not request.subresource

    async def validate(self, request: AdmissionRequest) -> None:
        if request.kind.resource == "namespaces":
            await self._namespace(request)
            return
        found = await self.seen["namespaces"].get(request.namespace)
        labels = (found or {}).get("metadata", {}).get("labels") or {}
        if self._quiet and not any(name.startswith(LABEL) for name in labels):
            return
        pod = _pod(request, request.obj)
        if pod is None or self._exempt(request, pod) or _same(request, pod):
            return
        policies = {mode: self._policy(labels, mode) for mode in MODES}
        if request.kind.resource == "pods":
            _annotate(request, "enforce-policy", str(policies["enforce"]))
            problems = violations(pod, policies["enforce"])
            if problems:
                raise forbidden(request, f'violates PodSecurity "{policies["enforce"]}": {problems}')
        problems = violations(pod, policies["audit"])
        if problems:
            _annotate(request, "audit-violations", f'would violate PodSecurity "{policies["audit"]}": {problems}')
        problems = violations(pod, policies["warn"])
        if problems:
            request.warn(f'would violate PodSecurity "{policies["warn"]}": {problems}')

    def _policy(self, labels: dict[str, str], mode: str) -> Policy:
        """The labels' say, else the config's."""
        default = self._defaults[mode]
        level = labels.get(LABEL + mode)
        version = labels.get(f"{LABEL}{mode}-version")
        if level is None and version is None:
            return default
        if level is not None and level not in LEVELS:
            return Policy.parse("restricted", "latest")  # a label that cannot be read is no loophole
        return Policy.parse(level or default.level, version or ("latest" if level else default.version))

    def _exempt(self, request: AdmissionRequest, pod: Object) -> bool:
        exempt = self._config.exemptions
        for what, value, names in (
            ("namespace", request.namespace, exempt.namespaces),
            ("user", request.user.name, exempt.usernames),
            ("runtimeClass", (pod.get("spec") or {}).get("runtimeClassName") or "", exempt.runtime_classes),
        ):
            if value and value in names:
                _annotate(request, "exempt", what)
                return True
        return False

    async def _namespace(self, request: AdmissionRequest) -> None:
        """A stricter level is no trouble for pods that run already, but their owners are told."""
        new = ((request.obj or {}).get("metadata") or {}).get("labels") or {}
        old = ((request.old or {}).get("metadata") or {}).get("labels") or {}
        policy, before = self._policy(new, "enforce"), self._policy(old, "enforce")
        if policy == before or policy.level == "privileged" or request.name in self._config.exemptions.namespaces:
            return
        if LEVELS.index(policy.level) < LEVELS.index(before.level) and policy.version == before.version:
            return
        by_problem: dict[str, list[str]] = {}
        try:
            pods = (await self.context.client().list(PODS, request.name, limit=MAX_PODS)).items
        except errors.ApiError:
            return
        for pod in pods:
            problems = violations(pod, policy, names=False)
            if problems:
                by_problem.setdefault(problems, []).append(pod["metadata"]["name"])
        if by_problem:
            request.warn(
                f'existing pods in namespace "{request.name}" violate the new PodSecurity enforce level "{policy}"'
            )
            request.warnings += sorted(f"{_some(names)}: {problems}" for problems, names in by_problem.items())


def _some(names: list[str]) -> str:
    """``web`` or ``web (and 2 other pods)``."""
    first, others = sorted(names)[0], len(names) - 1
    return first if not others else f"{first} (and {others} other pod{'s' if others > 1 else ''})"


def _pod(request: AdmissionRequest, obj: Object | None) -> Object | None:
    """The pod, or the template of one: what has metadata and spec."""
    for member in TEMPLATES.get(request.kind.resource, ()):
        obj = (obj or {}).get(member)
    return obj if obj and obj.get("spec") else None


def _same(request: AdmissionRequest, pod: Object) -> bool:
    old = _pod(request, request.old)
    return old is not None and old.get("spec") == pod.get("spec") and _notes(old) == _notes(pod)


def _notes(pod: Object) -> Any:
    return (pod.get("metadata") or {}).get("annotations") or {}


def _annotate(request: AdmissionRequest, key: str, value: str) -> None:
    request.annotate(LABEL + key, value)
