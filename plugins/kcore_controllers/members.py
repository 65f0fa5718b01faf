"""Which pods belong to which services, kept up to date by events: never a scan over pods or services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcore.objects import Object, meta

if TYPE_CHECKING:
    from kcore.client.informer import Informer

_EMPTY: set[str] = set()


class Members:
    """Feed it service and pod events; it answers which services an event concerns."""

    def __init__(self, pods: Informer):
        self._pods = pods
        self._selectors: dict[str, dict[str, str]] = {}  # service key -> selector
        self._by_pair: dict[tuple[str, str, str], set[str]] = {}  # namespace and first label of a selector -> services
        self._pods_of: dict[str, set[str]] = {}  # service key -> pod keys
        self._services_of: dict[str, set[str]] = {}  # pod key -> service keys

    def pods_of(self, service: str) -> set[str]:
        """Keys of the pods that a service selects."""
        return self._pods_of.get(service, _EMPTY)

    def count(self, service: str) -> int:
        return len(self._pods_of.get(service, _EMPTY))

    def set_service(self, key: str, service: Object | None) -> bool:
        """Note a service's selector; returns whether it has changed."""
        selector = dict((service or {}).get("spec", {}).get("selector") or {})
        if self._selectors.get(key, {}) == selector:
            return False
        self._forget_service(key)
        if selector and service is not None:
            namespace = meta.namespace(service)
            self._selectors[key] = selector
            self._by_pair.setdefault((namespace, *_first(selector)), set()).add(key)
            wanted = selector.items()
            for pod in self._pods.by_namespace(namespace):
                if wanted <= meta.labels(pod).items():
                    self._link(key, meta.key(pod))
        return True

    def set_pod(self, key: str, pod: Object | None) -> set[str]:
        """Note a pod's labels; returns the services that select it now or did before."""
        before = self._services_of.get(key, _EMPTY)
        now = set() if pod is None else self._matching(pod)
        if now != before:
            for service in before - now:
                self._pods_of[service].discard(key)
            for service in now - before:
                self._pods_of.setdefault(service, set()).add(key)
            if now:
                self._services_of[key] = now
            else:
                self._services_of.pop(key, None)
        return before | now

    def _matching(self, pod: Object) -> set[str]:
        labels = meta.labels(pod)
        items: Any = labels.items()
        namespace = meta.namespace(pod)
        found: set[str] = set()
        for k, v in items:
            for service in self._by_pair.get((namespace, k, v), _EMPTY):
                if self._selectors[service].items() <= items:
                    found.add(service)
        return found

    def _link(self, service: str, pod: str) -> None:
        self._pods_of.setdefault(service, set()).add(pod)
        # a new set: `set_pod` may have handed the old one out
        self._services_of[pod] = {*self._services_of.get(pod, _EMPTY), service}

    def _forget_service(self, key: str) -> None:
        selector = self._selectors.pop(key, None)
        if selector:
            namespace, _ = meta.split_key(key)
            self._by_pair[namespace, *_first(selector)].discard(key)
        for pod in self._pods_of.pop(key, ()):
            left = self._services_of[pod] - {key}
            if left:
                self._services_of[pod] = left
            else:
                del self._services_of[pod]


def _first(selector: dict[str, str]) -> tuple[str, str]:
    return min(selector.items())


def concerns_endpoints(old: Object | None, new: Object | None) -> bool:
    """Whether a pod's change can be seen in an endpoint at all: most status updates cannot."""
    if old is None or new is None:
        return True
    a, b = old.get("status") or {}, new.get("status") or {}
    return bool(
        a.get("podIP") != b.get("podIP")
        or a.get("phase") != b.get("phase")
        or meta.pod_ready(old) != meta.pod_ready(new)
        or meta.deleting(old) != meta.deleting(new)
        or meta.labels(old) != meta.labels(new)
        or old["spec"].get("nodeName") != new["spec"].get("nodeName")
        or a.get("podIPs") != b.get("podIPs")
    )


def in_endpoints(pod: Object, terminating_too: bool) -> bool:
    """A pod with an address that still runs."""
    if not (pod.get("status") or {}).get("podIP") or meta.pod_terminal(pod):
        return False
    return terminating_too or not meta.deleting(pod)


def port_number(pod: Object, port: Object) -> int | None:
    """The number of a service port's target on this pod; None if the pod has no port of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    protocol = port.get("protocol", "TCP")
    restartable = (c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always")
    for container in (*pod["spec"]["containers"], *restartable):
        for p in container.get("ports") or ():
            if p.get("name") == target and p.get("protocol", "TCP") == protocol:
                return int(p["containerPort"])
    return None


def ports_on(pod: Object, service: Object) -> list[Object]:
    """The service's ports as this pod serves them, in the form of an EndpointSlice."""
    out = []
    for port in service["spec"].get("ports") or ():
        number = port_number(pod, port)
        if number is None:
            continue
        entry = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        out.append(entry)
    return out


def headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def target_reference(pod: Object) -> Object:
    return {
        "kind": "Pod",
        "namespace": meta.namespace(pod),
        "name": meta.name(pod),
        "uid": meta.uid(pod),
    }


def hostname_of(pod: Object, service: Object) -> str:
    """The name under which a headless service publishes the pod."""
    spec = pod["spec"]
    if spec.get("hostname") and spec.get("subdomain") == meta.name(service):
        return str(spec["hostname"])
    return ""
