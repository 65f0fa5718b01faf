"""Objects that the tests make."""

from __future__ import annotations

from typing import Any

NS = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"
POD_SPEC = {"containers": [{"name": "c", "image": "i"}]}


def meta(name: str, **more: Any) -> Any:
    return {"metadata": {"name": name, **more}}


def controller(name: str, replicas: int = 2) -> Any:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": POD_SPEC}
    return {**meta(name), "spec": {"replicas": replicas, "selector": labels, "template": template}}


def deployment(name: str, replicas: int = 1) -> Any:
    spec = controller(name, replicas)["spec"]
    return {**meta(name), "spec": {**spec, "selector": {"matchLabels": spec["selector"]}}}
