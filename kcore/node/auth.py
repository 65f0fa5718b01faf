"""Who may ask a kubelet (Kubernetes docs, "Kubelet authentication/authorization").

A client certificate that the TLS layer has verified says who it is: the API server (or any of system:masters) may do
everything. A bearer token (Prometheus has one) is reviewed by the API. What anybody else may is asked of the API:
`get` on nodes/metrics, nodes/stats, nodes/log or nodes/proxy. Its answers are remembered for a while, as upstream
does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcore.client.delegation import Delegation, bearer
from kcore.http.messages import Request, Response

if TYPE_CHECKING:
    from kcore.node.agent import Agent

API_SERVERS = frozenset(("kube-apiserver-kubelet-client", "system:apiserver", "kube-apiserver"))
MASTERS = "system:masters"
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Gate:
    """The one place where a kubelet checks who is asking."""

    def __init__(self, *, open: bool = False) -> None:
        self._open = open  # let everybody in: for tests, and nodes without TLS
        self._delegation: Delegation | None = None

    async def check(self, agent: Agent, request: Request, path: str) -> Response | None:
        """None: go on. Otherwise the refusal."""
        if self._open:
            return None
        if request.peer_certificate is not None:
            from kcore.pki.x509 import summary

            try:
                found = summary(request.peer_certificate)
            except ValueError:
                return _refuse(401)
            if found.common_name in API_SERVERS or MASTERS in found.organizations:
                return None
            asked, key = _asked(agent, request, path)
            code = await self._reviews(agent).access(found.common_name, found.organizations, asked, key)
            return None if code == 200 else _refuse(code)
        token = bearer(request.headers.get("authorization", ""))
        if not token:
            return _refuse(401)
        code = await self._reviews(agent).review(token, *_asked(agent, request, path))
        return None if code == 200 else _refuse(code)

    def _reviews(self, agent: Agent) -> Delegation:
        if self._delegation is None:
            self._delegation = Delegation(agent.host.client)
        return self._delegation


def _asked(agent: Agent, request: Request, path: str) -> tuple[dict[str, Any], str]:
    """What a SubjectAccessReview asks for, and the key that tells it apart."""
    verb, sub = _VERBS.get(request.method, "get"), subresource(path)
    asked = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": sub, "name": agent.name}
    return {"resourceAttributes": asked}, f"{verb} {agent.name}/{sub}"


def subresource(path: str) -> str:
    """The subresource of nodes that a path of the kubelet stands for."""
    for prefix, found in (("/stats", "stats"), ("/metrics", "metrics"), ("/logs", "log"), ("/spec", "spec")):
        if path.startswith(prefix):
            return found
    return {"/healthz": "healthz", "/pods": "pods", "/runningpods": "pods", "/configz": "configz"}.get(path, "proxy")


def _refuse(code: int) -> Response:
    return Response(code, b"Unauthorized" if code == 401 else b"Forbidden", "text/plain; charset=utf-8")
