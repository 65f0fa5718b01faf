"""The API keeps what its documents promise, whatever it is sent. `python -m tests.fuzz` is the long form of this."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.fuzzing import CUSTOM, Fuzzer, fuzzer

pytest.importorskip("schemathesis", reason="comes with the extra `test`")


@pytest.fixture(scope="module")
def server() -> Iterator[Fuzzer]:
    with fuzzer() as found:
        yield found


@pytest.mark.parametrize("document", [CUSTOM, "apis/scheduling.k8s.io/v1", "version", "api"])
def test_no_request_finds_a_fault_or_an_answer_that_is_not_documented(server: Fuzzer, document: str) -> None:
    outcome = server.run(document, examples=3, seconds=300)
    assert outcome.passed, outcome.report
