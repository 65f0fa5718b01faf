"""What a token of somebody else's issuer makes of its bearer: claims checked and mapped by the file's rules.

(Kubernetes, "Using Authentication Configuration".) Expressions are CEL over `claims`, and over `user` once there is
one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from kcore.api.auth import User
from kcore.cel import Budget, BudgetExceeded, EvaluationError, Program
from kcore.objects import Object

COST = 10_000_000
"""What one expression may cost (upstream's limit for authentication)."""


class Refused(Exception):
    """The token is its issuer's, but not one that this cluster lets in. The text is for the log, without the token."""


def evaluate(program: Program, variables: Object) -> Any:
    try:
        return program.run(variables, budget=Budget(COST))
    except (EvaluationError, BudgetExceeded) as error:
        raise Refused(f"expression '{program.expression}' resulted in error: {error}") from error


@attrs.frozen
class Claim:
    """A claim that is taken as it is, behind a prefix."""

    name: str
    prefix: str = ""

    def text(self, claims: Object) -> str:
        value = claims.get(self.name)
        if value is None:
            raise Refused(f"parse {self.name} claims: claim not present")
        if not isinstance(value, str):
            raise Refused(f"parse {self.name} claims: it is no string")
        if self.name == "email" and claims.get("email_verified", True) is not True:
            raise Refused("email not verified")
        return self.prefix + value

    def texts(self, claims: Object) -> list[str]:
        value = claims.get(self.name)
        return [] if value is None else [self.prefix + text for text in _texts(value, self.name)]


@attrs.frozen
class Expression:
    """A claim that is worked out."""

    program: Program

    def text(self, claims: Object) -> str:
        value = evaluate(self.program, {"claims": claims})
        if not isinstance(value, str):
            raise Refused(f"expression '{self.program.expression}' must be a string")
        return value

    def texts(self, claims: Object) -> list[str]:
        value = evaluate(self.program, {"claims": claims})
        return [] if value is None else _texts(value, self.program.expression)


def _texts(value: Any, where: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise Refused(f"{where}: must be a string or a list of strings")
    return values


Source = Claim | Expression


@attrs.frozen
class Rule:
    """What must hold, or the token is refused with the message."""

    program: Program
    message: str

    def check(self, variables: Object) -> None:
        if evaluate(self.program, variables) is not True:
            raise Refused(self.message or f"validation expression '{self.program.expression}' failed")


@attrs.frozen
class Mapping:
    """One issuer's rules."""

    username: Source
    groups: Source | None = None
    uid: Source | None = None
    extra: tuple[tuple[str, Expression], ...] = ()
    required: tuple[tuple[str, str], ...] = ()
    """Claims that must have a value."""
    claim_rules: tuple[Rule, ...] = ()
    user_rules: tuple[Rule, ...] = ()

    def user(self, claims: Object) -> User:
        """Raises Refused."""
        for name, value in self.required:
            if claims.get(name) != value:
                raise Refused(f"required claim {name} value does not match")
        for rule in self.claim_rules:
            rule.check({"claims": claims})
        name = self.username.text(claims)
        if not name:
            raise Refused("the user's name is empty")
        groups = tuple(g for g in self.groups.texts(claims) if g) if self.groups is not None else ()
        uid = self.uid.text(claims) if self.uid is not None else ""
        extra = {key: found for key, source in self.extra if (found := [t for t in source.texts(claims) if t])}
        if self.user_rules:
            info: Object = {"username": name, "uid": uid, "groups": list(groups), "extra": extra}
            for rule in self.user_rules:
                rule.check({"user": info})
        return User(name, groups, uid, extra)


def map_of(file: Object, compile: Callable[[str, str, tuple[str, ...]], Program], problems: list[str]) -> Mapping:
    """The rules of one entry of `jwt`. `compile(expression, variable, kinds)` adds to `problems` what is wrong."""
    mappings: Object = file.get("claimMappings") or {}

    def source(key: str, *, required: bool = False, kinds: tuple[str, ...] = ("string",)) -> Source | None:
        given: Object = mappings.get(key) or {}
        claim, expression = given.get("claim") or "", given.get("expression") or ""
        where = f"claimMappings.{key}"
        if claim and expression:
            problems.append(f"{where}: claim and expression can't both be set")
        if expression:
            return Expression(compile(expression, "claims", kinds))
        if claim:
            if key != "uid" and given.get("prefix") is None:
                problems.append(f"{where}.prefix: required when claim is set; it may be empty")
            return Claim(claim, given.get("prefix") or "")
        if required:
            problems.append(f"{where}: claim or expression is required")
        return None

    lists = ("string", "list")
    username = source("username", required=True) or Claim("sub")
    extra = []
    for item in mappings.get("extra") or ():
        key = item.get("key") or ""
        if key != key.lower() or "/" not in key:
            problems.append(
                f"claimMappings.extra: {key!r} must be a lower-case domain-prefix path, like example.org/a"
            )
        extra.append((key, Expression(compile(item.get("valueExpression") or "", "claims", lists))))
    required, claim_rules = [], []
    for rule in file.get("claimValidationRules") or ():
        if rule.get("expression"):
            program = compile(rule["expression"], "claims", ("bool",))
            claim_rules.append(Rule(program, rule.get("message") or ""))
        elif rule.get("claim"):
            required.append((rule["claim"], rule.get("requiredValue") or ""))
        else:
            problems.append("claimValidationRules: claim or expression is required")
    user_rules = [
        Rule(compile(rule.get("expression") or "", "user", ("bool",)), rule.get("message") or "")
        for rule in file.get("userValidationRules") or ()
    ]
    _check_email(username, extra, claim_rules, problems)
    return Mapping(
        username,
        source("groups", kinds=lists),
        source("uid"),
        tuple(extra),
        tuple(required),
        tuple(claim_rules),
        tuple(user_rules),
    )


def _check_email(
    username: Source, extra: list[tuple[str, Expression]], rules: list[Rule], problems: list[str]
) -> None:
    """A name made of an address must look at whether the issuer has verified it."""
    if not isinstance(username, Expression) or "claims.email" not in username.program.expression:
        return
    looked = [username.program, *(e.program for _, e in extra), *(r.program for r in rules)]
    if not any("email_verified" in program.expression for program in looked):
        field = "claimMappings.username.expression"
        problems.append(
            f"{field}: claims.email_verified must be used in {field} or claimMappings.extra[*].valueExpression or "
            f"claimValidationRules[*].expression when claims.email is used in {field}"
        )
