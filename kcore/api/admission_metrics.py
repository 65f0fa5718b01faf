"""What admission measures, under upstream's names: each step, each plugin, each webhook.

As in `kcore.api.observe` the numbers are plain Python until somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kcore.metrics import Metrics
from kcore.metrics.plain import Counts, Durations

if TYPE_CHECKING:
    from prometheus_client import Metric

_STEP = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_WEBHOOK = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
_POLICY = (0.0000005, 0.001, 0.01, 0.1, 1.0)
_BOTTOM = 600  # codes above are counted as this one


class AdmissionMetrics:
    """One for each API server; a collector of its registry."""

    def __init__(self, metrics: Metrics) -> None:
        step, plugin = ("type", "operation", "rejected"), ("name", "type", "operation", "rejected")
        name = "apiserver_admission_"
        self.step = Durations(
            name + "step_admission_duration_seconds",
            "Admission sub-step latency, broken out for each operation and step type (validate or admit).",
            step,
            _STEP,
        )
        self.controller = Durations(
            name + "controller_admission_duration_seconds",
            "Admission plugin latency, by name, operation and type (validate or admit).",
            plugin,
            _STEP,
        )
        self.webhook = Durations(
            name + "webhook_admission_duration_seconds",
            "Admission webhook latency, by name, operation and type (validating or admit).",
            plugin,
            _WEBHOOK,
        )
        self.requests = Counts(
            name + "webhook_request",
            "Admission webhook requests, by name, type, operation, code and whether the request was rejected.",
            ("name", "type", "operation", "code", "rejected"),
        )
        self.rejections = Counts(
            name + "webhook_rejection_count",
            "Admission webhook rejections, by name, type, operation, type of error and code.",
            ("name", "type", "operation", "error_type", "rejection_code"),
            total=False,
        )
        self.fail_open = Counts(
            name + "webhook_fail_open_count",
            "Admission webhooks that failed and were passed over, by name and type.",
            ("name", "type"),
            total=False,
        )
        condition = ("name", "kind", "type", "operation")
        self.condition_errors = Counts(
            name + "match_condition_evaluation_errors",
            "Match conditions that failed, by the name of their webhook or policy.",
            condition,
        )
        self.condition_exclusions = Counts(
            name + "match_condition_exclusions",
            "Requests that match conditions kept away, by the name of their webhook or policy.",
            condition,
        )
        policy = ("policy", "policy_binding", "error_type", "enforcement_action")
        self.validation_checks = Counts(
            "apiserver_validating_admission_policy_check", "Checks of validating admission policies.", policy
        )
        self.validation_seconds = Durations(
            "apiserver_validating_admission_policy_check_duration_seconds",
            "Validation latency of validating admission policies.",
            policy,
            _POLICY,
        )
        mutation = ("policy", "policy_binding", "error_type")
        self.mutation_checks = Counts(
            "apiserver_mutating_admission_policy_check", "Checks of mutating admission policies.", mutation
        )
        self.mutation_seconds = Durations(
            "apiserver_mutating_admission_policy_check_duration_seconds",
            "Mutation latency of mutating admission policies.",
            mutation,
            _POLICY,
        )
        metrics.collect_with(self)

    def called(self, name: str, type: str, operation: str, code: int, rejected: bool, seconds: float) -> None:
        """A webhook has been called."""
        refused = "true" if rejected else "false"
        self.requests.add(name, type, operation, str(min(code, _BOTTOM)), refused)
        self.webhook.observe(seconds, name, type, operation, refused)

    def rejected(self, name: str, type: str, operation: str, error_type: str, code: int) -> None:
        self.rejections.add(name, type, operation, error_type, str(min(code, _BOTTOM)))

    def collect(self) -> Iterator[Metric]:
        yield self.step.summary(self.step.name + "_summary", "Admission sub-step latency, by operation and step type.")
        for durations in (self.step, self.controller, self.webhook, self.validation_seconds, self.mutation_seconds):
            yield durations.family()
        for counts in (
            self.requests,
            self.rejections,
            self.fail_open,
            self.condition_errors,
            self.condition_exclusions,
            self.validation_checks,
            self.mutation_checks,
        ):
            yield counts.family()
