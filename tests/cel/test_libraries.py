"""The functions that Kubernetes adds to the language, library by library."""

from __future__ import annotations

from typing import Any

import pytest

from kcore.cel import Budget, CompileError, Environment, EvaluationError
from kcore.cel.libraries.authorization import Authorizer, Check, Decision
from kcore.cel.libraries.mutation import Structs, mismatches, plain
from kcore.cel.types import BOOL, DYN, opaque

ENV = Environment({"self": DYN})
SELF = {"a": {"b": ["q"]}, "n": None, "text": "wörk", "q": "1Gi", "one": 1}


def run(expression: str) -> Any:
    return ENV.compile(expression).run({"self": SELF}, budget=Budget(10_000_000))


STRINGS = """
'abc'.charAt(1) == 'b' && 'abc'.charAt(3) == '' && 'wörk'.charAt(1) == 'ö'
'abc'.indexOf('c') == 2 && 'abc'.indexOf('') == 0 && 'abca'.indexOf('a', 1) == 3 && 'abc'.indexOf('x') == -1
'a-b-c'.lastIndexOf('-') == 3 && 'a-b-c'.lastIndexOf('-', 2) == 1 && 'abc'.lastIndexOf('') == 3
['a', 'b'].join('-') == 'a-b' && ['a', 'b'].join() == 'ab' && [].join('x') == ''
'ABCÖ'.lowerAscii() == 'abcÖ' && 'abcß'.upperAscii() == 'ABCß'
'aaa'.replace('a', 'b') == 'bbb' && 'aaa'.replace('a', 'b', 2) == 'bba' && 'ab'.replace('', '-') == '-a-b-'
'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && 'abc'.split('') == ['a', 'b', 'c']
'a,b'.split(',', 0) == [] && 'a,b'.split(',', 1) == ['a,b'] && 'abc'.split('', 2) == ['a', 'bc']
'abcd'.substring(1) == 'bcd' && 'abcd'.substring(1, 3) == 'bc' && 'abcd'.substring(4) == ''
' \\t x\\n'.trim() == 'x'
strings.quote('a"b\\n') == '"a\\\\"b\\\\n"'
'%s is %d'.format(['a', 1]) == 'a is 1' && '100%%'.format([]) == '100%'
'%.2f %e'.format([1.005, 1052.032911275]) == '1.00 1.052033e+03'
'%x %X %b %o'.format([255, 'k', 5, 8]) == 'ff 6B 101 10'
'%s %s %s'.format([[1, 2], {'b': null, 'a': true}, duration('1h')]) == '[1, 2] {a: true, b: null} 3600s'
""".strip()

LISTS = """
[1, 2, 2].isSorted() && ![2, 1].isSorted() && ['a', 'b'].isSorted() && [].isSorted()
[1, 2].sum() == 3
[1.5, 2.0].sum() == 3.5 && [1u, 2u].sum() == 3u && [duration('1h'), duration('1m')].sum() == duration('61m')
[2, 1].min() == 1 && ['b', 'a'].max() == 'b' && [1.0].max() == 1.0
[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(3) == -1
sets.contains([1, 2, 3], [1, 3]) && !sets.contains([1], [2]) && sets.contains([], [])
sets.intersects([1], [1, 2]) && !sets.intersects([1], [2]) && sets.equivalent([1, 1, 2], [2, 1])
""".strip()

REGEX = """
'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]') == ''
'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b2'.findAll('[0-9]', 1) == ['1'] && 'abc'.findAll('[0-9]') == []
'aaa'.matches('a{3}') && 'x\\ny'.matches('x.y') == false && 'ÖL'.matches('(?i)öl')
""".strip()

URLS = """
url('https://user:pass@example.com:80/path?query=val#fragment').getHost() == 'example.com:80'
url('https://example.com:80/').getHostname() == 'example.com' && url('https://example.com:80/').getPort() == '80'
url('https://[::1]:80/').getHost() == '[::1]:80' && url('https://[::1]:80/').getHostname() == '::1'
url('/path').getScheme() == '' && url('https://example.com/').getScheme() == 'https' && url('/path').getHost() == ''
url('https://example.com/path with spaces/').getEscapedPath() == '/path%20with%20spaces/'
url('https://example.com').getEscapedPath() == '' && url('/a%2Fb').getEscapedPath() == '/a%2Fb'
url('https://e/path?k1=a&k2=b&k2=c').getQuery() == {'k1': ['a'], 'k2': ['b', 'c']}
url('https://e/p?key with spaces=value with spaces').getQuery() == {'key with spaces': ['value with spaces']}
url('https://e/path?').getQuery() == {} && url('https://e/path').getQuery() == {}
isURL('/absolute-path') && !isURL('https://a:b:c/') && !isURL('../relative-path') && !isURL('')
""".strip()

QUANTITIES = """
isQuantity('1.3G') && isQuantity('1.3Gi')
!isQuantity('1,3G') && !isQuantity('200K') && !isQuantity('Mi') && isQuantity('1e3')
quantity('50k').add(quantity('20k')) == quantity('70k') && quantity('50k').add(20) == quantity('50020')
quantity('50k').sub(quantity('20k')) == quantity('30k') && quantity('50k').sub(20000) == quantity('30k')
quantity('200M').compareTo(quantity('0.2G')) == 0 && quantity('50M').compareTo(quantity('50Mi')) == -1
quantity('150Mi').isGreaterThan(quantity('100Mi')) && quantity('50M').isLessThan(quantity('100M'))
quantity('50k').asInteger() == 50000 && quantity('50000000G').isInteger() && !quantity('100m').isInteger()
!quantity('9999999999999999999999999999999999999G').isInteger()
quantity('1.5').asApproximateFloat() == 1.5 && sign(quantity('-1')) == -1 && quantity('0').sign() == 0
quantity(self.q).isGreaterThan(quantity('1G')) && type(quantity('1')) == kubernetes.Quantity
""".strip()

NETWORKS = """
ip('127.0.0.1').family() == 4 && ip('::1').family() == 6 && isIP('1.2.3.4') && !isIP('127.0.0.256') && !isIP(':::1')
!isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0') && !isIP('01.2.3.4')
ip.isCanonical('127.0.0.1') && ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')
ip('0.0.0.0').isUnspecified() && ip('::1').isLoopback() && ip('224.0.0.1').isLinkLocalMulticast()
!ip('224.0.1.1').isLinkLocalMulticast() && ip('ff02::1').isLinkLocalMulticast()
!ip('fd00::1').isLinkLocalMulticast()
ip('169.254.169.254').isLinkLocalUnicast() && ip('fe80::1').isLinkLocalUnicast()
ip('192.168.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast() && !ip('ff00::1').isGlobalUnicast()
string(ip('::1')) == '::1' && ip('::1') == ip('0::1') && ip('::1') != ip('::2')
cidr('192.168.0.0/24').containsIP(ip('192.168.0.1')) && !cidr('192.168.0.0/24').containsIP('192.168.1.1')
cidr('192.168.0.0/16').containsCIDR(cidr('192.168.10.0/24'))
!cidr('192.168.1.0/24').containsCIDR('192.168.2.0/24')
!cidr('192.168.10.0/24').containsCIDR('192.168.0.0/16')
cidr('192.168.0.1/24').ip() == ip('192.168.0.1') && cidr('192.168.0.1/24').masked() == cidr('192.168.0.0/24')
cidr('::1/128').prefixLength() == 128 && isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/33') && !isCIDR('10.0.0.0')
""".strip()

OTHERS = """
!format.dns1123Label().validate('my-label').hasValue() && format.dns1123Label().validate('My').hasValue()
!format.dns1123Subdomain().validate('a.b').hasValue() && !format.dns1123LabelPrefix().validate('a-').hasValue()
!format.labelValue().validate('').hasValue() && format.qualifiedName().validate('a/b/c').hasValue()
format.uri().validate('x').hasValue() && !format.uri().validate('http://example.com').hasValue()
!format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue() && format.byte().validate('?').hasValue()
!format.date().validate('2021-01-01').hasValue() && format.date().validate('2021-02-30').hasValue()
!format.datetime().validate('2021-01-01T00:00:00Z').hasValue() && format.datetime().validate('x').hasValue()
format.named('uuid').hasValue() && !format.named('nope').hasValue()
semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0').isGreaterThan(semver('1.0.0-rc.1'))
semver('1.0.0-alpha.2').compareTo(semver('1.0.0-alpha.10')) == -1 && semver('1.0.0+a') == semver('1.0.0+b')
semver('v1.2', true).minor() == 2 && semver('01.01.01', true).major() == 1 && semver('1.2.3').patch() == 3
isSemver('1.0.0') && !isSemver('hello') && !isSemver('v1.0') && isSemver('v1.0', true) && !isSemver('1.02.3')
optional.of(1).hasValue() && !optional.none().hasValue() && optional.of(3).orValue(4) == 3
optional.none().orValue(4) == 4 && optional.none().or(optional.of(1)).value() == 1
optional.of(1).orValue(1 / 0) == 1 && optional.ofNonZeroValue('') == optional.none()
self.?a.?b.orValue([]) == ['q'] && self.?x.b.c.orValue(7) == 7 && self.?n.?x == optional.none()
self.?a.b[?0].orValue('z') == 'q' && self.?a.b[?5].orValue('z') == 'z' && [1, 2][?1].value() == 2
{'a': 1}[?'b'].orValue(2) == 2 && has(self.a.b) && !has(self.?x.y)
{?'a': optional.none(), 'b': 1} == {'b': 1} && [?optional.of(1), 2] == [1, 2] && [?optional.none()] == []
optional.of(2).optMap(x, x * 2).value() == 4 && !optional.none().optMap(x, x).hasValue()
optional.of(2).optFlatMap(x, optional.of(x + 1)).value() == 3
[optional.of(1), optional.none()].unwrapOpt() == [1] && [1, 2].first().value() == 1 && [1, 2].last().value() == 2
'%s %s'.format([1000000.0, 1.5e-7]) == '1000000 0.00000015'
jsonpatch.escapeKey('a/b~c') == 'a~1b~0c'
""".strip()

ALL = "\n".join((STRINGS, LISTS, REGEX, URLS, QUANTITIES, NETWORKS, OTHERS))


@pytest.mark.parametrize("expression", ALL.splitlines())
def test_expression_holds(expression: str) -> None:
    assert run(expression) is True


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("'abc'.charAt(4)", "index out of range: 4"),
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("'abc'.substring(-1)", "index out of range: -1"),
        ("[1].filter(x, x > 1).min()", "min called on empty list"),
        ("[1].filter(x, x > 1).max()", "max called on empty list"),
        ("[9223372036854775807, 1].sum()", "integer overflow"),
        (
            "'%d'.format(['a'])",
            "error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("'%s'.format([])", "index 0 out of range"),
        ("'%q'.format([1])", 'could not parse formatting clause: unrecognized formatting clause "q"'),
        (
            "url('../x')",
            'URL parse error during conversion from string: parse "../x": invalid URI for request',
        ),
        (
            "quantity('200K')",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("quantity('100m').asInteger()", "cannot convert value to integer"),
        ("ip('::ffff:1.2.3.4')", 'IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed'),
        ("ip('fe80::1%eth0')", 'IP address "fe80::1%eth0" with zone value is not allowed'),
        ("semver('1')", "No Major.Minor.Patch elements found"),
        ("optional.none().value()", "optional.none() dereference"),
        ("self.one.charAt(1)", "no such overload: charAt(int, int)"),
        ("self.text.matches(self.text + '(')", "error parsing regexp: missing closing ): `wörk(`"),
    ],
)
def test_library_errors_are_upstreams(expression: str, message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        run(expression)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("'a'.matches('(')", "invalid matches argument"),
        ("duration('x')", "invalid duration argument"),
        ("timestamp('x')", "invalid timestamp argument"),
    ],
)
def test_literals_that_cannot_be_read_do_not_compile(expression: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        ENV.compile(expression)


# --- authorization -------------------------------------------------------------------------------

WITH_AUTHORIZER = Environment({"authorizer": opaque(Authorizer.type_name)})


def asked(allow: str) -> tuple[Authorizer, list[Check]]:
    checks: list[Check] = []

    async def decide(check: Check) -> Decision:
        checks.append(check)
        return Decision(allowed=check.verb == allow, reason="because", error="" if check.verb else "no verb")

    return Authorizer(decide), checks


async def test_an_authorization_check_is_awaited_and_made_once() -> None:
    authorizer, checks = asked("create")
    program = WITH_AUTHORIZER.compile(
        "authorizer.group('').resource('pods').namespace('a').name('b').check('create').allowed()"
        " && !authorizer.path('/healthz').check('get').allowed()"
        " && authorizer.group('').resource('pods').namespace('a').name('b').check('create').reason() == 'because'",
        result=(BOOL,),
    )
    budget = Budget(2_000_000)
    assert await program.arun({"authorizer": authorizer}, budget=budget) is True
    assert checks == [
        Check(verb="create", resource="pods", namespace="a", name="b"),
        Check(verb="get", path="/healthz"),
    ]
    assert 1_050_000 < budget.spent < 1_050_100


async def test_a_check_on_behalf_of_a_service_account_says_so() -> None:
    authorizer, checks = asked("list")
    expression = "authorizer.serviceAccount('ns', 'sa').group('apps').resource('deployments').subresource('scale')"
    expression += ".fieldSelector('metadata.name=x').labelSelector('a=b').check('list').errored()"
    assert await WITH_AUTHORIZER.compile(expression).arun({"authorizer": authorizer}, budget=Budget(10**6)) is False
    assert checks == [
        Check(
            verb="list",
            group="apps",
            resource="deployments",
            subresource="scale",
            field_selector="metadata.name=x",
            label_selector="a=b",
            service_account=("ns", "sa"),
        )
    ]


async def test_checks_are_dear() -> None:
    from kcore.cel import BudgetExceeded

    authorizer, _ = asked("get")
    check = "authorizer.path('/{}').check('get').allowed()"
    program = WITH_AUTHORIZER.compile(" && ".join(check.format(i) for i in range(3)))
    with pytest.raises(BudgetExceeded):
        await program.arun({"authorizer": authorizer}, budget=Budget(1_000_000))


# --- mutation ------------------------------------------------------------------------------------

MUTATIONS = Environment({"object": DYN}, structs=Structs())


def mutated(expression: str) -> Any:
    return MUTATIONS.compile(expression).run({"object": {"spec": {"replicas": 1}}}, budget=Budget(10_000))


def test_objects_and_patches_are_constructed() -> None:
    made = mutated("Object{spec: Object.spec{replicas: object.spec.replicas + 1, ?x: optional.none()}}")
    assert plain(made) == {"spec": {"replicas": 2}}
    assert mismatches(made) == []
    patch = mutated('[JSONPatch{op: "add", path: "/m/" + jsonpatch.escapeKey("a/b"), value: Object.m{a: [1]}}]')
    assert plain(patch) == [{"op": "add", "path": "/m/a~1b", "value": {"a": [1]}}]


def test_an_object_type_must_stand_where_its_name_says() -> None:
    problems = mismatches(mutated("Object{spec: Object.meta{x: 1}}"))
    assert problems == [
        'unexpected type name "Object.meta", expected "Object.spec", '
        "which matches field name path from root Object type"
    ]


def test_a_patch_has_the_fields_it_has() -> None:
    with pytest.raises(CompileError, match="undefined field 'nope'"):
        mutated("JSONPatch{nope: 1}")
    with pytest.raises(CompileError, match="expected type of field 'op' is 'string' but provided type is 'int'"):
        mutated("JSONPatch{op: 1}")
    with pytest.raises(CompileError, match=r"undeclared reference to 'Nope' \(in container ''\)"):
        mutated("Nope{}")
