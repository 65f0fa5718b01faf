"""The rules of jobs and of when they run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common, pods
from kcore_kinds.validation.common import IMMUTABLE, Object, not_negative, one_of

_MAX_INDEXED = 100_000
_COUNTS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
_NO_SELECTOR = "`selector` will be auto-generated"
# Each field of a schedule: its smallest and largest value, and names that stand for values.
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[int, int, list[str]], ...] = (
    (0, 59, []),
    (0, 23, []),
    (1, 31, []),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_NAMED = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def job(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    yield from job_spec("spec", spec)
    if spec.get("selector") is None:
        yield fields.required("spec.selector")
    else:
        yield from common.label_selector("spec.selector", spec["selector"])
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
        if not common.matches(spec["selector"], labels):
            why = "`selector` does not match template `labels`"
            yield fields.invalid("spec.template.metadata.labels", labels, why)
    if old is not None:
        yield from _update(spec, old)


def _update(spec: Object, old: Object) -> Iterator[Cause]:
    was = old["spec"]
    indexed = spec.get("completionMode") == "Indexed" == was.get("completionMode")
    together = spec.get("completions") == spec.get("parallelism")
    if spec.get("completions") != was.get("completions") and not (indexed and together):
        yield fields.invalid("spec.completions", spec.get("completions"), IMMUTABLE)
    for name in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "successPolicy"):
        if spec.get(name) != was.get(name):
            yield fields.invalid(f"spec.{name}", spec.get(name), IMMUTABLE)
    if _template(spec, was, old) != _template(was, was, old):
        yield fields.invalid("spec.template", spec.get("template"), IMMUTABLE)


def _template(spec: Object, was: Object, old: Object) -> Object:
    """What of the template is fixed: while a job that never ran is suspended, its placement is not."""
    template = dict(spec.get("template") or {})
    if was.get("suspend") and not (old.get("status") or {}).get("startTime"):
        inner = dict(template.get("spec") or {})
        for name in ("nodeSelector", "affinity", "tolerations", "schedulingGates"):
            inner.pop(name, None)
        template = {"spec": inner}
    return template


def job_spec(path: str, spec: Object) -> Iterator[Cause]:
    """A job's spec, also that of a cron job's template."""
    for name in _COUNTS:
        yield from not_negative(f"{path}.{name}", spec.get(name))
    yield from not_negative(f"{path}.backoffLimitPerIndex", spec.get("backoffLimitPerIndex"))
    mode = spec.get("completionMode")
    yield from one_of(f"{path}.completionMode", mode, ["Indexed", "NonIndexed"])
    if mode == "Indexed":
        if spec.get("completions") is None:
            why = "when completion mode is Indexed"
            yield fields.required(f"{path}.completions", why)
        elif (spec.get("parallelism") or 0) > _MAX_INDEXED:
            why = f"must be less than or equal to {_MAX_INDEXED} when completion mode is Indexed"
            yield fields.invalid(f"{path}.parallelism", spec["parallelism"], why)
    elif spec.get("backoffLimitPerIndex") is not None:
        why = "requires indexed completion mode"
        yield fields.invalid(f"{path}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], why)
    template = spec.get("template") or {}
    if spec.get("podFailurePolicy") is not None:
        yield from _failure_policy(f"{path}.podFailurePolicy", spec, template)
    replacement = ["Failed"] if spec.get("podFailurePolicy") is not None else ["Failed", "TerminatingOrFailed"]
    yield from one_of(f"{path}.podReplacementPolicy", spec.get("podReplacementPolicy"), replacement)
    yield from pods.template(f"{path}.template", template)
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy in ("", "Always", None):
        yield fields.required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield fields.not_supported(f"{path}.template.spec.restartPolicy", policy, ["OnFailure", "Never"])
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        yield fields.invalid(f"{path}.template.spec.restartPolicy", policy, why)


_MAX_RULES = _MAX_CONDITIONS = 20
_MAX_EXIT_CODES = 255
_ACTIONS = ["Count", "FailIndex", "FailJob", "Ignore"]
_STATUSES = ["False", "True", "Unknown"]
_OPERATORS = ["In", "NotIn"]


def _failure_policy(path: str, spec: Object, template: Object) -> Iterator[Cause]:
    rules = spec["podFailurePolicy"].get("rules") or []
    if len(rules) > _MAX_RULES:
        yield fields.too_many(f"{path}.rules", len(rules), _MAX_RULES)
    inner = template.get("spec") or {}
    known = {c.get("name") for sort in ("containers", "initContainers") for c in inner.get(sort) or ()}
    for i, rule in enumerate(rules):
        at, action = f"{path}.rules[{i}]", rule.get("action") or ""
        if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            yield fields.invalid(f"{at}.action", action, "requires the backoffLimitPerIndex to be set")
        else:
            yield from _choice(f"{at}.action", action, _ACTIONS)
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
        if codes is not None:
            yield from _exit_codes(f"{at}.onExitCodes", codes, known)
        yield from _conditions(f"{at}.onPodConditions", conditions)
        if codes is not None and conditions:
            why = "specifying both OnExitCodes and OnPodConditions is not supported"
            yield Cause("FieldValueInvalid", f"Invalid value: {why}", at)
        elif codes is None and not conditions:
            why = "specifying one of OnExitCodes and OnPodConditions is required"
            yield Cause("FieldValueInvalid", f"Invalid value: {why}", at)


def _choice(path: str, value: str, choices: list[str]) -> Iterator[Cause]:
    """One of a few words; its absence names them."""
    if not value:
        yield fields.required(path, "valid values: [" + " ".join(f'"{c}"' for c in choices) + "]")
    elif value not in choices:
        yield fields.not_supported(path, value, choices)


def _exit_codes(path: str, given: Object, known: set[str | None]) -> Iterator[Cause]:
    operator, container, values = given.get("operator") or "", given.get("containerName"), given.get("values") or []
    yield from _choice(f"{path}.operator", operator, _OPERATORS)
    if container is not None and container not in known:
        why = "must be one of the container or initContainer names in the pod template"
        yield fields.invalid(f"{path}.containerName", container, why)
    if not values:
        yield fields.invalid(f"{path}.values", given.get("values"), "at least one value is required")
    elif len(values) > _MAX_EXIT_CODES:
        yield fields.too_many(f"{path}.values", len(values), _MAX_EXIT_CODES)
    seen: set[int] = set()
    for i, code in enumerate(values):
        if operator == "In" and code == 0:
            yield fields.invalid(f"{path}.values[{i}]", code, "must not be 0 for the In operator")
        if code in seen:
            yield fields.duplicate(f"{path}.values[{i}]", code)
        seen.add(code)
    if values != sorted(values):
        yield fields.invalid(f"{path}.values", values, "must be ordered")


def _conditions(path: str, given: list[Object]) -> Iterator[Cause]:
    if len(given) > _MAX_CONDITIONS:
        yield fields.too_many(path, len(given), _MAX_CONDITIONS)
    for i, pattern in enumerate(given):
        type = pattern.get("type") or ""
        yield from common.problems(f"{path}[{i}].type", type, names.qualified_name(type))
        yield from _choice(f"{path}[{i}].status", pattern.get("status") or "", _STATUSES)


_MAX_CRON_NAME = 52  # its jobs add eleven characters to it, and must be DNS labels


def cron_job(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    name = obj["metadata"].get("name", "")
    if old is None and len(name) > _MAX_CRON_NAME:
        yield fields.invalid("metadata.name", name, f"must be no more than {_MAX_CRON_NAME} characters")
    schedule = spec.get("schedule", "")
    if not schedule:
        yield fields.required("spec.schedule")
    elif "TZ" in schedule:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield fields.invalid("spec.schedule", schedule, why)
    else:
        wrong = schedule_error(schedule)
        if wrong:
            yield fields.invalid("spec.schedule", schedule, wrong)
    yield from not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    yield from _time_zone(spec.get("timeZone"))
    policy = spec.get("concurrencyPolicy")
    yield from one_of("spec.concurrencyPolicy", policy, ["Allow", "Forbid", "Replace"], required=True)
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    yield from job_spec("spec.jobTemplate.spec", inner)
    if inner.get("manualSelector"):
        yield fields.not_supported("spec.jobTemplate.spec.manualSelector", True, ["nil", "false"])
    if inner.get("selector") is not None:
        yield fields.invalid("spec.jobTemplate.spec.selector", inner["selector"], _NO_SELECTOR)
    for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from not_negative(f"spec.{name}", spec.get(name))


def _time_zone(zone: str | None) -> Iterator[Cause]:
    if zone is None:
        return
    path = "spec.timeZone"
    if not zone:
        yield fields.invalid(path, zone, "timeZone must be nil or non-empty string")
        return
    if zone.lower() == "local":
        yield fields.invalid(
            path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
        return
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        yield fields.invalid(path, zone, f"unknown time zone {zone}")


def schedule_error(text: str) -> str:
    """What is wrong with a cron schedule; "" for a good one."""
    if text.startswith("@"):
        return "" if text in _NAMED or text.startswith("@every ") else f"unrecognized descriptor: {text}"
    words = text.split()
    if len(words) != 5:
        return f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]"
    for word, (low, high, known) in zip(words, _FIELDS, strict=True):
        for part in word.split(","):
            wrong = _part_error(part, low, high, known)
            if wrong:
                return wrong
    return ""


def _part_error(part: str, low: int, high: int, known: list[str]) -> str:
    span, slash, step = part.partition("/")
    if slash and not step.isdigit():
        return f'failed to parse int from {step}: strconv.Atoi: parsing "{step}": invalid syntax'
    if slash and int(step) == 0:
        return f"step of range should be a positive number: {part}"
    if span in ("*", "?"):
        return ""
    ends = span.split("-")
    if len(ends) > 2:
        return f"too many hyphens: {part}"
    values = []
    for end in ends:
        if end.lower() in known:
            values.append(known.index(end.lower()) + low)
        elif re.fullmatch(r"[0-9]+", end):
            values.append(int(end))
        else:
            return f'failed to parse int from {end}: strconv.Atoi: parsing "{end}": invalid syntax'
    if values[0] < low:
        return f"beginning of range ({values[0]}) below minimum ({low}): {part}"
    if values[-1] > high:
        return f"end of range ({values[-1]}) above maximum ({high}): {part}"
    if values[0] > values[-1]:
        return f"beginning of range ({values[0]}) beyond end of range ({values[-1]}): {part}"
    return ""
