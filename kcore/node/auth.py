"""Who may ask a kubelet (Kubernetes docs, "Kubelet authentication/authorization").

A client certificate that the TLS layer has verified: the API server's own (or any of system:masters) may do
everything. A bearer token (Prometheus has one) is reviewed by the API, and so is what its user may: `get` on
nodes/metrics, nodes/stats, nodes/log or nodes/proxy. Answers of the API are remembered for a while, as upstream does.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import trio

from kcore.http.messages import Request, Response
from kcore.objects.resources import GVR

if TYPE_CHECKING:
    from kcore.node.agent import Agent

TOKEN_REVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
ACCESS_REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False)
API_SERVERS = frozenset(("kube-apiserver-kubelet-client", "system:apiserver", "kube-apiserver"))
MASTERS = "system:masters"
ALLOWED_SECONDS, REFUSED_SECONDS = 120.0, 30.0  # how long an answer is remembered
REMEMBERED = 1000
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Gate:
    """The one place where a kubelet checks who is asking."""

    def __init__(self, *, open: bool = False) -> None:
        self._open = open  # let everybody in: for tests, and nodes without TLS
        self._known: OrderedDict[tuple[str, str, str], tuple[float, int]] = OrderedDict()

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
            return _refuse(403)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return _refuse(401)
        code = await self._review(agent, token.strip(), _VERBS.get(request.method, "get"), subresource(path))
        return None if code == 200 else _refuse(code)

    async def _review(self, agent: Agent, token: str, verb: str, sub: str) -> int:
        """200, 401 or 403."""
        key = (token, verb, f"{agent.name}/{sub}")
        known = self._known.get(key)
        if known is not None and known[0] > trio.current_time():
            return known[1]
        code = await self._ask(agent, token, verb, sub)
        self._known[key] = (trio.current_time() + (ALLOWED_SECONDS if code == 200 else REFUSED_SECONDS), code)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return code

    async def _ask(self, agent: Agent, token: str, verb: str, sub: str) -> int:
        client = agent.host.client
        review = (await client.create(TOKEN_REVIEWS, {"spec": {"token": token}})).get("status") or {}
        if not review.get("authenticated"):
            return 401
        user = review.get("user") or {}
        spec = {
            "user": user.get("username", ""),
            "groups": user.get("groups") or [],
            "uid": user.get("uid", ""),
            "extra": user.get("extra") or {},
            "resourceAttributes": {
                "verb": verb,
                "version": "v1",
                "resource": "nodes",
                "subresource": sub,
                "name": agent.name,
            },
        }
        decision = (await client.create(ACCESS_REVIEWS, {"spec": spec})).get("status") or {}
        return 200 if decision.get("allowed") else 403


def subresource(path: str) -> str:
    """The subresource of nodes that a path of the kubelet stands for."""
    for prefix, found in (("/stats", "stats"), ("/metrics", "metrics"), ("/logs", "log"), ("/spec", "spec")):
        if path.startswith(prefix):
            return found
    return {"/healthz": "healthz", "/pods": "pods", "/runningpods": "pods", "/configz": "configz"}.get(path, "proxy")


def _refuse(code: int) -> Response:
    return Response(code, b"Unauthorized" if code == 401 else b"Forbidden", "text/plain; charset=utf-8")
