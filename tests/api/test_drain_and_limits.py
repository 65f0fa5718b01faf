"""Time limits of requests, and how the API ends."""

from __future__ import annotations

import msgspec
import pytest
import trio

from kcore.api.admission import Admission, AdmissionRequest
from kcore.api.timing import duration

from .conftest import Api, serving

MAPS = "/api/v1/namespaces/default/configmaps"


class Slow(Admission):
    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind.plural in ("configmaps", "services")

    async def validate(self, request: AdmissionRequest) -> None:
        await trio.sleep(100)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("32s", 32), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("-2s", -2), ("0", 0), (".5s", 0.5), ("+1us", 1e-6)],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("32", 'missing unit in duration "32"'),
        ("abc", 'invalid duration "abc"'),
        ("3x", 'unknown unit "x" in duration "3x"'),
        ("", 'invalid duration ""'),
        ("99999999999999h", 'invalid duration "99999999999999h"'),
        ("1s-", 'unknown unit "s-" in duration "1s-"'),
    ],
)
def test_what_is_no_duration_is_refused_in_gos_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="duration") as caught:
        duration(text)
    assert str(caught.value) == why


async def test_a_request_may_say_how_long_it_will_wait(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(admission=[Slow()]) as api:
        status = await api.call("POST", MAPS + "?timeout=2s", {"metadata": {"name": "a"}}, expect=504)
        assert status["reason"] == "Timeout"
        assert status["message"] == "Timeout: request did not complete within the allotted timeout"
        assert status["details"] == {}
        await api.call("GET", MAPS + "/a", expect=404)
        await api.call("GET", MAPS + "?timeout=2s", expect=200)
        status = await api.call("GET", MAPS + "?timeout=soon", expect=400)
        assert status["message"] == 'invalid timeout specified in the request URL - time: invalid duration "soon"'


async def test_a_write_that_is_given_up_leaves_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(admission=[Slow()]) as api:
        service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        with trio.move_on_after(1):
            await api.call("POST", "/api/v1/namespaces/default/services", service)
        assert (await api.call("GET", "/api/v1/namespaces/default/services", expect=200))["items"] == []
        assert (await api.call("GET", "/apis/networking.k8s.io/v1/ipaddresses", expect=200))["items"] == []


async def test_an_api_that_is_about_to_end_is_not_ready_but_serves(api: Api) -> None:
    await api.call("GET", "/readyz", expect=200)
    api.server.drain()
    answer = await api.send("GET", "/readyz")
    assert answer.status == 500
    assert b"[-]shutdown failed" in bytes(answer.body)  # type: ignore[arg-type]
    await api.call("GET", "/livez", expect=200)
    await api.call("GET", MAPS, expect=200)


async def test_late_requests_are_told_to_come_again(api: Api) -> None:
    api.server.refuse()
    answer = await api.send("GET", MAPS)
    assert answer.status == 503
    assert dict(answer.headers)[b"retry-after"] == b"1"
    assert msgspec.json.decode(bytes(answer.body))["reason"] == "ServiceUnavailable"  # type: ignore[arg-type]
    await api.call("GET", "/livez", expect=200)
