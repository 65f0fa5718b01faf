"""Bodies, patches and queries that no honest client sends: each is refused with a reason, and nothing is lost."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from .conftest import CONFIGMAPS, Api, refused

pytestmark = pytest.mark.usefixtures("unharmed")

BIG = "9" * 5000  # more digits than int() takes
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


def token(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


# --- queries ----------


@pytest.mark.parametrize(
    "query",
    [
        *(f"limit={n}" for n in ("abc", "1_000", "%201", BIG, 2**63, "%D9%A3", "1.5", "%C2%B2")),
        *(f"timeoutSeconds={n}" for n in ("x", BIG, 2**70)),
        *(f"watch=1&timeoutSeconds={n}" for n in ("9" * 400, 2**63)),
        *(f"resourceVersion={n}" for n in (-1, "abc", BIG, 2**64, "%D9%A3", "1.0")),
        f"resourceVersion={2**63}&resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=Bogus",
        "continue=%FF%FE",
        "continue=%00",
        "continue=" + "A" * 8000,
        "continue=" + base64.urlsafe_b64encode(b"[" * 9000).decode(),
        *(f"continue={token(t)}" for t in ({}, [], 1, None, "x", {"v": "meta.k8s.io/v1"})),
        *(
            f"limit=1&continue={token({'v': 'meta.k8s.io/v1', 'rv': rv, 'start': start})}"
            for rv, start in ((2**70, "a"), (True, "a"), (1.5, "a"), (1, ""), (1, []), (1, "../../secrets"))
        ),
        *(
            f"labelSelector={quote(s)}"
            for s in (")", "a in (", "a in", "!", "a=(", "a,,b", "a,", "a==b==c", "(" * 900)
        ),
        *(f"labelSelector={quote(s)}" for s in ("\0", "a=\0", "a b", "/", "a/", "a=" + "b" * 64, "a>b", f"a>{BIG}")),
        *(f"fieldSelector={quote(s)}" for s in ("a", "spec.x=y", "metadata.name", "=", "\\", "," * 10 + "x")),
    ],
)
def test_a_query_that_makes_no_sense_is_a_bad_request(api: Api, query: str) -> None:
    code, text = api.call("GET", f"{CONFIGMAPS}?{query}")
    assert code in (400, 422, 504)
    assert text
    assert "Traceback" not in text
    assert code != 504 or "Too large resource version" in text


@pytest.mark.parametrize("query", ["limit=-1", "limit=%2B2", f"timeoutSeconds=-1&limit={2**62}", "&&;;==", "%FF=%FE"])
def test_a_query_that_upstream_lets_pass_is_answered(api: Api, query: str) -> None:
    assert api.call("GET", f"{CONFIGMAPS}?{query}")[0] == 200


@pytest.mark.parametrize("number", ["abc", "-1", BIG, str(2**64)])
def test_a_watch_from_a_resource_version_that_is_none_is_refused(api: Api, number: str) -> None:
    code, text = api.call("GET", f"{CONFIGMAPS}?watch=1&resourceVersion={number}")
    assert refused(code, text)
    assert "strconv.ParseUint" in text


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default/configmaps/..%2F..%2Fsecrets",
        "/api/v1/namespaces/default/configmaps/%00",
        "/api/v1/namespaces/default/configmaps/" + "a" * 9000,
        "/api/v1/namespaces/default/configmaps/kept/..",
        "/api/v1/%2e%2e/v1/pods",
        "/openapi/v3/../../etc/passwd",
        "/openapi/v3/apis/%2e%2e%2f",
        "/logs/../../etc/passwd",
        "/api/v1/nodes/node-1/proxy/../../../etc/passwd",
        "/readyz/%00",
        "/api/v1/watch",
        "/apis/a/b/c/d/e/f/g/h",
        "/apis/%00/v1/x",
    ],
)
def test_a_path_that_leads_nowhere_is_not_found(api: Api, path: str) -> None:
    assert api.call("GET", path)[0] == 404


@pytest.mark.parametrize(
    ("code", "options"),
    [
        (400, "[]"),
        (400, "1"),
        (400, '{"gracePeriodSeconds":"abc"}'),
        (400, '{"gracePeriodSeconds":1.5}'),
        (400, '{"gracePeriodSeconds":1e300}'),
        (400, f'{{"gracePeriodSeconds":{BIG}}}'),
        (400, '{"preconditions":[]}'),
        (400, '{"preconditions":{"uid":5}}'),
        (400, '{"dryRun":5}'),
        (400, '{"dryRun":"All"}'),
        (400, '{"dryRun":[["All"]]}'),
        (422, '{"dryRun":["Some"]}'),
        (400, '{"propagationPolicy":5}'),
        (422, '{"propagationPolicy":"x"}'),
        (400, '{"orphanDependents":"x"}'),
        (400, '{"kind":5}'),
        (400, "[" * 100_000),
        (400, '{"a":' * 100_000),
        (409, '{"preconditions":{"uid":"another"}}'),
    ],
)
def test_options_of_a_delete_that_make_no_sense_delete_nothing(api: Api, code: int, options: str) -> None:
    assert api.call("DELETE", f"{CONFIGMAPS}/kept", options.encode())[0] == code


# --- bodies ----------

DEEP = b"[" * 900 + b"]" * 900
BODIES = [
    b"",
    b"\x00",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe{\x00",
    b'{"metadata":{"name":"a\\u0000b"}}',
    b'{"metadata":{"name":"\\ud800"}}',
    b'{"metadata":{"name":"ok\xff"}}',
    b'{"metadata":{"name":"x","generation":1e400}}',
    b'{"metadata":{"name":"x","generation":%s}}' % BIG.encode(),
    b'{"metadata":{"name":"x","creationTimestamp":"9999999-99-99"}}',
    b'{"metadata":{"name":"x","labels":{"\\u0000":"\\u0000"}}}',
    b'{"metadata":{"name":"x","annotations":{"a":"%s"}}}' % (b"x" * 300_000),
    b'{"metadata":{"name":"%s"}}' % (b"x" * 100_000),
    b'{"metadata":{"name":"x","namespace":"other"}}',
    b'{"metadata":{"name":"x","ownerReferences":[{}]}}',
    b'{"a":' * 100_000,
    b"[" * 1_000_000,
    b'{"metadata":{"name":"x"},"data":%s}' % DEEP,
    b'{"metadata":{"name":"x"},"metadata":{"name":"y"},"data":%s}' % DEEP,
    b'{"kind":"Pod","apiVersion":"v1"}',
    b'{"kind":"ConfigMap","apiVersion":"%s"}' % (b"/" * 1000),
    b" " * 3_000_000,
    b'"' * 200_000,
    b'{"metadata":{"name":"big"},"data":{"a":"%s"}}' % (b"x" * 2_000_000),
]


@pytest.mark.parametrize("number", range(len(BODIES)))
@pytest.mark.parametrize("strictness", ["Strict", "Ignore"])
def test_a_body_that_is_no_object_of_the_kind_is_refused(api: Api, number: int, strictness: str) -> None:
    code, text = api.call("POST", f"{CONFIGMAPS}?fieldValidation={strictness}", BODIES[number])
    assert code in (400, 413, 422)
    assert text


def test_a_thousand_unknown_fields_are_warned_of_in_moderation(api: Api) -> None:
    unknown = {f"a{n}\u0001\r\nX-Evil: {n}": n for n in range(1000)}
    body = json.dumps({"metadata": {"name": "odd"}, **unknown}).encode()
    assert api.call("POST", f"{CONFIGMAPS}?dryRun=All", body)[0] == 201  # http.client takes 100 headers at most


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)
)
YAMLS = [
    b"\x00",
    b"&a [*a]",
    b"a: &a\n  b: *a\n",
    BOMB,
    b"\n".join(b"k%d: &a%d {<<: [*a%d, *a%d]}" % (i, i, i - 1, i - 1) if i else b"k0: &a0 {x: y}" for i in range(40)),
    b"- " * 490 + b"x",
    b"- " * 5000,
    b"[" * 600,
    b"{a: " * 600,
    b"? " * 2000,
    b"a:\n" + b"".join(b" " * i + b"a:\n" for i in range(1, 495)),
    b"!!python/object:os.system {}",
    b'!!binary "***"',
    b"!!int abc",
    b"metadata: {name: x, generation: 0x%s}" % (b"f" * 5000),
    b"metadata: {name: x, generation: 0b%s}" % (b"1" * 5000),
    b"metadata: {name: x, generation: 0o%s}" % (b"7" * 5000),
    b"metadata: {name: x, generation: %s}" % BIG.encode(),
    b"metadata: {name: x, generation: 1e999999}",
    b"a: .inf",
    b"a: *x",
    b"<<: [1]",
    b"? [a]\n: b",
    b"\xff\xfe",
    b'metadata: {name: "\\0"}',
    b"metadata: 5",
    b"&" * 10_000,
    b"*" * 10_000,
    b"%" * 10_000,
    b'"' + b"a\n" * 100_000,
]


@pytest.mark.parametrize("number", range(len(YAMLS)))
def test_yaml_that_is_no_object_is_refused_as_body_and_as_configuration(api: Api, number: int) -> None:
    code, text = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Strict", YAMLS[number], "application/yaml")
    assert code in (400, 422)
    assert text
    code, text = api.call("PATCH", f"{CONFIGMAPS}/kept?fieldManager=m", YAMLS[number], APPLY)
    assert code in (400, 422)
    assert text


# --- patches ----------


def operations(*ops: tuple[str, str, Any]) -> bytes:
    """A JSON patch; the third is the value, or where a copy or move is from."""
    out = [{"op": op, "path": path, "from" if op in ("copy", "move") else "value": value} for op, path, value in ops]
    return json.dumps(out).encode()


JSON_PATCHES = [
    b"",
    b"{}",
    b"[1]",
    b"[{}]",
    operations(("bomb", "", 1)),
    *(operations(("add", "", value)) for value in (None, 5, [])),
    operations(("remove", "", None)),
    *(operations(("replace", "/metadata", value)) for value in (None, 5, [])),
    *(operations(("replace", "/metadata/name", value)) for value in (5, "other", None)),
    operations(("replace", "/kind", 5)),
    *(operations(("replace", "/metadata/resourceVersion", value)) for value in ("abc", 5, "1")),
    operations(("replace", "/metadata/managedFields", 5)),
    operations(("replace", "/metadata/managedFields", [5])),
    operations(("add", f"/metadata/managedFields/{BIG}", "x")),
    b'[{"op":"test","path":"/data/a","value":%s}]' % BIG.encode(),
    operations(("test", "/" + "a/" * 100_000, 1)),
    operations(("copy", "/data/x", "")),
    operations(*[("copy", "/data/x", "/data")] * 60),
    operations(("add", "/x", ["a"]), *[("copy", "/x/-", "/x")] * 60),
    operations(*[("test", "/kind", "ConfigMap")] * 10_001),
    b'[{"op":"add","path":"/data/a","value":%s}]' % DEEP,
    b'[{"op":"add","path":"/x","value":%s},{"op":"copy","from":"/x","path":"/x%s/-"},{"op":"add","path":"/data","value":1}]'
    % (DEEP, b"/0" * 899),
]


@pytest.mark.parametrize("number", range(len(JSON_PATCHES)))
def test_a_json_patch_that_cannot_be_is_refused(api: Api, number: int) -> None:
    code, text = api.call("PATCH", f"{CONFIGMAPS}/kept", JSON_PATCHES[number], JSON_PATCH)
    assert refused(code, text)


MERGES = [
    b"",
    b"[]",
    b"1",
    b'{"metadata":5}',
    b'{"metadata":{"name":null}}',
    b'{"data":5}',
    b'{"data":{"a":5}}',
    b'{"kind":5}',
    b'{"metadata":{"resourceVersion":"abc"}}',
    b'{"metadata":{"finalizers":[5]}}',
    b'{"metadata":{"ownerReferences":[{"uid":""}]}}',
    b'{"metadata":{"ownerReferences":[5]}}',
    b'{"metadata":{"deletionTimestamp":"x"}}',
    b'{"data":' + b'{"a":' * 900 + b"1" + b"}" * 901,
]


@pytest.mark.parametrize("number", range(len(MERGES)))
@pytest.mark.parametrize("type", [MERGE_PATCH, STRATEGIC])
def test_a_merge_patch_that_cannot_be_is_refused(api: Api, number: int, type: str) -> None:
    code, text = api.call("PATCH", f"{CONFIGMAPS}/kept", MERGES[number], type)
    assert refused(code, text)


@pytest.mark.parametrize(
    "rest",
    [
        "metadata: []",
        "metadata: 5",
        "metadata: {name: [x]}",
        "metadata: {namespace: {}}",
        "metadata: {managedFields: 5}",
        "metadata: {resourceVersion: [5]}",
        "metadata: {ownerReferences: [{uid: a},{uid: a}]}",
        "data: [1]",
    ],
)
def test_a_configuration_that_cannot_be_applied_is_refused(api: Api, rest: str) -> None:
    for name in ("kept", "new"):
        body = f"apiVersion: v1\nkind: ConfigMap\n{rest}".encode()
        assert refused(*api.call("PATCH", f"{CONFIGMAPS}/{name}?fieldManager=m", body, APPLY))


# --- data of any form ----------

REVISIONS = "/apis/apps/v1/namespaces/default/controllerrevisions"  # their data may be anything


def revision(name: str, data: bytes) -> bytes:
    return b'{"metadata":{"name":"%s"},"revision":1,"data":{"x":%s}}' % (name.encode(), data)


def test_what_may_be_anything_can_be_as_deep_as_it_may_be(api: Api) -> None:
    for depth in (50, 150, 300, 450, 600, 900, 2000):
        name = f"deep-{depth}"
        code, text = api.call("POST", REVISIONS, revision(name, b"[" * depth + b"]" * depth))
        assert code == 201 or (code == 400 and depth > 150), text
        if code == 201:
            changes = (
                (MERGE_PATCH, b'{"metadata":{"labels":{"a":"b"}}}'),
                (JSON_PATCH, operations(("test", "/kind", 1))),
            )
            for type, patch in changes:
                code, text = api.call("PATCH", f"{REVISIONS}/{name}", patch, type)
                assert code == 200 or refused(code, text), text
            assert api.call("GET", f"{REVISIONS}/{name}")[0] == 200
            query = f"watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3D{name}" if depth == 150 else "limit=5"
            assert api.call("GET", f"{REVISIONS}?{query}")[0] == 200
            assert api.call("DELETE", f"{REVISIONS}/{name}")[0] == 200


def test_numbers_beyond_64_bits_do_not_hurt(api: Api) -> None:
    for number in ("9" * 30, "-" + "9" * 30, "1e400", BIG, "0." + "1" * 5000, "1e-400", "-0"):
        code, text = api.call("POST", REVISIONS, revision("n", number.encode()))
        assert code in (201, 400), text
        if code == 201:
            assert api.call("GET", f"{REVISIONS}/n")[0] == 200
            for patch in (operations(("test", "/data", 0)), operations(("copy", "/data/copy", "/data"))):
                assert refused(*api.call("PATCH", f"{REVISIONS}/n", patch, JSON_PATCH))
            assert api.call("DELETE", f"{REVISIONS}/n")[0] == 200


# --- mutations of good bodies ----------
