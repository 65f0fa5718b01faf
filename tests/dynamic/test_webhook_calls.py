"""How webhooks are reached, and what is said when they cannot be."""

from __future__ import annotations

import base64

import pytest
import trio

from kcore.api.webhook import MAX_ANSWER, WebhookError
from kcore.http.messages import Response
from kcore.pki import Pki
from tests.dynamic.conftest import serving_hooks

BODY = {"request": {"uid": "u"}}


async def hang(asked):
    await trio.sleep_forever()


async def said(api, client, timeout: float = 5) -> str:
    with pytest.raises(WebhookError) as caught:
        await api.server.webhooks.call(client, BODY, timeout=timeout)
    return str(caught.value)


async def test_a_webhook_is_told_how_long_it_may_take_and_who_asks(api, hooks):
    await api.server.webhooks.call(hooks.client("/x?a=b"), BODY, timeout=7)
    request = hooks.requests[0]
    assert request.query == "a=b&timeout=7s"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{hooks.port}"
    assert request.headers["user-agent"] == "kube-apiserver-admission"


async def test_connections_are_kept_and_shared(api, hooks):
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(lambda: api.server.webhooks.call(hooks.client("/x"), BODY, timeout=20))
    assert len(hooks.asked) == 50
    (client,) = api.server.webhooks._clients.values()
    kept = len(client._idle)
    await api.server.webhooks.call(hooks.client("/x"), BODY, timeout=5)
    assert len(client._idle) == kept


async def test_a_kept_connection_that_the_webhook_has_closed_is_no_error(api, pki):
    async with serving_hooks(pki) as hooks:
        hooks.answers["/x"] = lambda asked: Response(200, b'{"kind":"X"}', headers=[(b"Connection", b"close")])
        for _ in range(3):
            await api.server.webhooks.call(hooks.client("/x"), BODY, timeout=5)
        assert len(hooks.asked) == 3


async def test_nobody_listens(api):
    text = await said(api, {"url": "https://127.0.0.1:1/x"}, 2)
    assert text == 'Post "https://127.0.0.1:1/x?timeout=2s": dial tcp 127.0.0.1:1: connect: connection refused'


async def test_a_webhook_that_hangs_is_given_up(api, hooks):
    hooks.answers["/x"] = hang
    text = await said(api, hooks.client("/x"), 0.2)
    assert text == f'Post "{hooks.url("/x")}?timeout=1s": context deadline exceeded'


async def test_a_certificate_of_somebody_else_is_refused(api, hooks, tmp_path):
    other = Pki.open(tmp_path)
    client = {"url": hooks.url("/x"), "caBundle": base64.b64encode(other.ca_pem).decode()}
    text = await said(api, client)
    assert text.endswith("tls: failed to verify certificate: x509: certificate signed by unknown authority")
    assert not hooks.asked


async def test_a_certificate_for_another_name_is_refused(api, pki):
    async with serving_hooks(pki, "elsewhere.example.com") as hooks:
        text = await said(api, hooks.client("/x"))
        assert "tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1" in text


async def test_a_webhook_without_tls_is_not_talked_to(api, pki):
    async with serving_hooks(pki, tls=False) as hooks:
        text = await said(api, hooks.client("/x"))
        assert text.endswith("http: server gave HTTP response to HTTPS client")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            Response(500, b"oops", content_type="text/plain"),
            'an error on the server ("oops") has prevented the request',
        ),
        (Response(404, b"no"), "the server could not find the requested resource"),
        (Response(200, b"oops"), "couldn't get version/kind; json parse error: invalid character 'o'"),
        (Response(200, b""), "0-length response with status code: 200 and content type: application/json"),
        (Response(200, b"[]"), "json: cannot unmarshal array into Go value"),
        (Response(200, b'"' + b"[" * 100_000), "couldn't get version/kind; json parse error"),
        (Response(200, b"[" * 100_000), "couldn't get version/kind; json parse error"),
        (Response(200, b'{"a":"' + b"x" * (MAX_ANSWER + 1)), f"the answer is longer than {MAX_ANSWER} bytes"),
        (
            Response(302, b"", headers=[(b"Location", b"https://127.0.0.1:1/")]),
            "the server responded with the status code 302 but did not return more information",
        ),
        (
            Response(403, b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"go away"}'),
            "go away",
        ),
    ],
    ids=["500", "404", "text", "empty", "list", "open string", "deep", "huge", "redirect", "status"],
)
async def test_answers_that_are_none(api, hooks, answer, text):
    hooks.answers["/x"] = answer
    assert text in await said(api, hooks.client("/x"))


async def test_a_service_is_reached_at_a_ready_endpoint_under_its_own_name(api, pki):
    async with serving_hooks(pki, "hook.default.svc", host="127.0.0.9") as hooks:
        client = {"service": {"name": "hook", "namespace": "default", "path": "/x"}, "caBundle": hooks.ca}
        assert await said(api, client) == (
            'Post "https://hook.default.svc:443/x?timeout=5s": service "hook" not found'
        )
        spec = {"ports": [{"name": "https", "port": 443}], "selector": {"app": "hook"}}
        await api.call("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "hook"}, "spec": spec})
        await api.server.feed.caught_up()
        assert (await said(api, client)).endswith('no endpoints available for service "hook"')
        assert (await said(api, {"service": {**client["service"], "port": 8443}, "caBundle": hooks.ca})).endswith(
            'no service port 8443 found for service "hook"'
        )
        endpoints = [
            {"addresses": ["127.0.0.8"], "conditions": {"ready": False}},
            {"addresses": ["127.0.0.9"], "conditions": {"ready": True}},
        ]
        slice_ = {
            "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": hooks.port, "protocol": "TCP"}],
            "endpoints": endpoints,
        }
        path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        await api.call("POST", path, slice_, expect=201)
        await api.server.feed.caught_up()
        for _ in range(5):
            await api.server.webhooks.call(client, BODY, timeout=5)
        assert {r.headers["host"] for r in hooks.requests} == {"hook.default.svc:443"}
