"""Tokens and access that somebody else decides about: asked once, remembered, and what no answer means."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from kcore_auth import FileConfig, WebhookAuthorizerConfig, WebhookTokenConfig
from kcore_auth.authorization_config import load, open_authorization
from kcore_auth.rbac import Rbac, find_rbac
from kcore_auth.webhook_authorizer import open_webhook, review_of
from kcore_auth.webhook_tokens import open_webhook_tokens

from kcore import errors
from kcore.api.auth import Attributes, User
from kcore.errors import ConfigError
from kcore.http.listen import bound, listen
from kcore.http.messages import Request, Response
from kcore.http.server import serve
from kcore.pki import Pki

JANE = User("jane", ("dev",), "u-1", {"scopes": ["a"]})
GET_POD = Attributes(JANE, "get", "pods", "", "", "v1", "ns1", "p")


@attrs.define
class Webhook:
    directory: Path
    port: int = 0
    status: Any = attrs.Factory(lambda: {"allowed": True, "reason": "because"})
    code: int = 200
    seen: list[tuple[str, dict[str, Any]]] = attrs.Factory(list)

    async def handle(self, request: Request) -> Response:
        body = json.loads(request.body)
        self.seen.append((request.path, body))
        return Response(self.code, json.dumps({**body, "status": self.status}).encode())

    def kubeconfig(self, path: str = "/review") -> str:
        server = {
            "server": f"https://127.0.0.1:{self.port}{path}",
            "certificate-authority-data": base64.b64encode(Pki.open(self.directory).ca_pem).decode(),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": server}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        file = self.directory / "webhook.kubeconfig"
        file.write_text(json.dumps(config))
        return str(file)


@asynccontextmanager
async def _serving(directory: Path) -> AsyncIterator[Webhook]:
    listener = await listen(0, "127.0.0.1")
    webhook = Webhook(directory, bound(listener)[1])
    context = Pki.open(directory).server_context(["127.0.0.1"])
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, webhook.handle, [listener], ssl_context=context))
        yield webhook
        nursery.cancel_scope.cancel()


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[Webhook]:
    async with _serving(tmp_path) as found:
        yield found


async def test_access_is_asked_for_once_and_remembered(webhook: Webhook, context: Any) -> None:
    config = WebhookAuthorizerConfig(webhook.kubeconfig())
    async with open_webhook(context, config) as authorizer:
        decision = await authorizer.authorize(GET_POD)
        assert (decision.allowed, decision.reason) == (True, "because")
        await authorizer.authorize(GET_POD)
        ((path, review),) = webhook.seen
        assert path == "/review"
        assert review == {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": "jane",
                "groups": ["dev"],
                "uid": "u-1",
                "extra": {"scopes": ["a"]},
                "resourceAttributes": {
                    "namespace": "ns1",
                    "verb": "get",
                    "version": "v1",
                    "resource": "pods",
                    "name": "p",
                },
            },
        }
        webhook.status = {"allowed": False, "denied": True}
        assert (await authorizer.authorize(msgspec.structs.replace(GET_POD, name="q"))).allowed is False
        webhook.status = {"allowed": False}
        assert (await authorizer.authorize(msgspec.structs.replace(GET_POD, name="r"))).allowed is None


def test_a_review_tells_of_selectors_and_paths() -> None:
    listed = Attributes(JANE, "list", "pods", label_selector="a in (x,y),!b", field_selector="spec.nodeName=n1")
    about = review_of(listed)["resourceAttributes"]
    assert about["labelSelector"]["requirements"] == [
        {"key": "a", "operator": "In", "values": ["x", "y"]},
        {"key": "b", "operator": "DoesNotExist"},
    ]
    assert about["fieldSelector"]["requirements"] == [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]
    assert review_of(Attributes(JANE, "get", path="/metrics"))["nonResourceAttributes"] == {
        "path": "/metrics",
        "verb": "get",
    }


@pytest.mark.parametrize(("policy", "allowed"), [("NoOpinion", None), ("Deny", False)])
async def test_no_answer_means_what_the_policy_says(
    webhook: Webhook, context: Any, policy: str, allowed: bool | None
) -> None:
    webhook.code = 403
    config = WebhookAuthorizerConfig(webhook.kubeconfig(), failure_policy=policy)
    async with open_webhook(context, config) as authorizer:
        assert (await authorizer.authorize(GET_POD)).allowed is allowed
        webhook.code, webhook.status = 200, "nonsense"
        assert (await authorizer.authorize(GET_POD)).allowed is allowed


async def test_tokens_are_reviewed_elsewhere(webhook: Webhook, context: Any) -> None:
    user = {"username": "jane", "uid": "u", "groups": ["a"], "extra": {"k": ["v"]}}
    webhook.status = {"authenticated": True, "user": user}
    async with open_webhook_tokens(context, WebhookTokenConfig(webhook.kubeconfig(""))) as tokens:
        request = Request("GET", "/", "", {"authorization": "Bearer abc"})
        assert await tokens.authenticate(request) == User("jane", ("a",), "u")
        assert await tokens.authenticate(request) == User("jane", ("a",), "u")
        ((path, review),) = webhook.seen
        assert path == "/apis/authentication.k8s.io/v1/tokenreviews"  # a server without a path is another API
        assert review["spec"] == {"token": "abc"}
        webhook.status = {"authenticated": True, "user": user, "audiences": ["else"]}
        assert await tokens.check("abc", ["kcore"]) is None
        webhook.status = {"authenticated": False}
        assert await tokens.check("xyz", []) is None
        webhook.code = 401
        with pytest.raises(errors.Unauthorized):
            await tokens.check("uvw", [])


AUTHORIZERS = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- type: Webhook
  name: first
  webhook:
    timeout: 3s
    authorizedTTL: 5m
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: webhook.kubeconfig}
    matchConditions:
    - {expression: 'has(request.resourceAttributes) && request.resourceAttributes.namespace == "ns1"'}
- {type: RBAC, name: rbac}
"""


async def test_a_file_says_who_decides_in_which_order(webhook: Webhook, context: Any, tmp_path: Path) -> None:
    file = tmp_path / "authorization.yaml"
    file.write_text(AUTHORIZERS)
    webhook.kubeconfig()
    async with open_authorization(context, FileConfig(str(file))) as chain:
        assert isinstance(find_rbac([chain]), Rbac)
        assert (await chain.authorize(GET_POD)).allowed is True
        assert (await chain.authorize(msgspec.structs.replace(GET_POD, namespace="ns2"))).allowed is None
        assert (await chain.authorize(Attributes(JANE, "get", path="/metrics"))).allowed is None
        assert len(webhook.seen) == 1
        await trio.testing.wait_all_tasks_blocked()
        file.write_text(AUTHORIZERS.replace('namespace == "ns1"', 'namespace == "ns2"'))
        with trio.fail_after(5):
            while True:
                if (await chain.authorize(GET_POD)).allowed is None:
                    break
                await trio.sleep(0.01)
        file.write_text("kind: Nonsense")
        await trio.sleep(0.2)
        assert (await chain.authorize(msgspec.structs.replace(GET_POD, namespace="ns2"))).allowed is True


def test_what_is_wrong_with_such_a_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "authorization.yaml"
    wrong = AUTHORIZERS.replace("3s", "3 hours").replace("Deny", "Shrug").replace("RBAC, name: rbac", "ABAC, name: a")
    file.write_text(wrong.replace("has(", "hash("))
    with pytest.raises(ConfigError) as caught:
        load(file)
    for part in ("timeout: Invalid value", "failurePolicy: Unsupported", "'ABAC'", "matchConditions[0].expression"):
        assert part in str(caught.value)
