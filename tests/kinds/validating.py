"""Objects to validate, and what is said about them."""

from __future__ import annotations

import copy
from typing import Any

from kcore_kinds import kcore_kinds

KINDS = {k.resource: k for k in kcore_kinds() if (k.group, k.version) != ("autoscaling", "v1")}
CONTAINER = {"name": "c", "image": "img"}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
WORKLOAD = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
Object = dict[str, Any]


def pod(**spec: Any) -> Object:
    return {"containers": [CONTAINER], **spec}


def container(**members: Any) -> Object:
    return pod(containers=[{**CONTAINER, **members}])


def said(causes: Any) -> list[tuple[str, str, str]]:
    return [(c.reason.removeprefix("FieldValue"), c.field, c.message) for c in causes]


def refused(created: Any, resource: str, spec: Any = None, **members: Any) -> list[tuple[str, str, str]]:
    return said(KINDS[resource].strategy.validate(created(resource, spec, **members)))


def changed(created: Any, resource: str, old: Object, new: Object) -> list[tuple[str, str, str]]:
    before, after = created(resource, **copy.deepcopy(old)), created(resource, **copy.deepcopy(new))
    return said(KINDS[resource].strategy.validate_update(after, before))
