"""Several authorizers in order, by a file as kube-apiserver's --authorization-config takes it
(apiserver.config.k8s.io, AuthorizationConfiguration).

The file is read again when it changes; one that is wrong is logged, and the last good one stays.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from kcore.api.auth import Attributes, Authorizer, Decision
from kcore.cel import CompileError, Environment
from kcore.cel.types import BOOL, DYN, STRING, map_of
from kcore.errors import ConfigError
from kcore.objects import Object
from kcore.registry import Context, NoConfig
from kcore_auth import FileConfig
from kcore_auth.anonymous import AlwaysAllow
from kcore_auth.ask import reviewer
from kcore_auth.nodes import open_nodes
from kcore_auth.rbac import open_rbac
from kcore_auth.webhook_authorizer import Rules, WebhookAuthorizer

_VERSIONS = tuple(f"apiserver.config.k8s.io/{v}" for v in ("v1", "v1beta1", "v1alpha1"))
_TYPES = ("Webhook", "Node", "RBAC", "AlwaysAllow", "AlwaysDeny")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class AlwaysDeny:
    async def authorize(self, attributes: Attributes) -> Decision:
        return Decision(None, "Everything is forbidden.")


class Chain:
    """The authorizer: the file's own ones, in its order."""

    def __init__(self, log: logging.Logger) -> None:
        self.parts: list[Authorizer] = []
        self._log = log
        self._stack = AsyncExitStack()

    async def authorize(self, attributes: Attributes) -> Decision:
        reason = ""
        for part in self.parts:
            decision = await part.authorize(attributes)
            if decision.allowed is not None:
                return decision
            reason = decision.reason or reason
        return Decision(None, reason)

    async def use(self, path: Path, built_in: dict[str, Authorizer]) -> None:
        """Read the file and do as it says. Raises ConfigError, and then nothing has changed."""
        entries = await trio.to_thread.run_sync(load, path)
        stack, parts = AsyncExitStack(), []
        try:
            for entry in entries:
                if entry["type"] != "Webhook":
                    parts.append(built_in[entry["type"]])
                    continue
                said, file = entry["webhook"], path.parent / entry["webhook"]["file"]
                reviews = await stack.enter_async_context(reviewer(file, "SubjectAccessReview", said["timeout"]))
                parts.append(WebhookAuthorizer(entry["name"], reviews, said["rules"], self._log))
        except BaseException:
            await stack.aclose()
            raise
        before, self._stack, self.parts = self._stack, stack, parts
        await before.aclose()

    async def aclose(self) -> None:
        await self._stack.aclose()


def duration(text: Any, default: float) -> float:
    """Seconds of a Go duration. Raises ValueError."""
    if text is None:
        return default
    if not isinstance(text, str) or not _DURATION.sub("", text) == "" or not text:
        raise ValueError(f"time: invalid duration {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def load(path: Path) -> list[Object]:
    """The authorizers of a file, checked. Raises ConfigError."""
    import yaml

    try:
        file = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    problems: list[str] = []
    try:
        entries = _entries(file, problems)
    except (AttributeError, TypeError, KeyError) as error:
        raise ConfigError([f"{path}: not of the form of an AuthorizationConfiguration: {error}"]) from error
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return entries


def _entries(file: Object, problems: list[str]) -> list[Object]:
    if file.get("apiVersion") not in _VERSIONS or file.get("kind") != "AuthorizationConfiguration":
        problems.append(f"apiVersion and kind must be {_VERSIONS[0]}, AuthorizationConfiguration")
    entries: list[Object] = file.get("authorizers") or []
    if not entries:
        problems.append("authorizers: Required value: at least one authorization mode must be defined")
    names, types, out = set(), set(), []
    for number, entry in enumerate(entries):
        where, kind, name = f"authorizers[{number}]", entry.get("type"), entry.get("name") or ""
        if kind not in _TYPES:
            problems.append(f"{where}.type: Unsupported value: {kind!r}: supported values: {', '.join(_TYPES)}")
            continue
        if kind != "Webhook" and kind in types:
            problems.append(f"{where}.type: Duplicate value: {kind!r}")
        if not name or name in names:
            problems.append(f"{where}.name: {'Duplicate' if name else 'Required'} value: {name!r}")
        types.add(kind)
        names.add(name)
        own: list[str] = []
        webhook = _webhook(entry.get("webhook") or {}, own) if kind == "Webhook" else None
        problems += [f"{where}.webhook.{problem}" for problem in own]
        out.append({"type": kind, "name": name, "webhook": webhook})
    return out


def _webhook(said: Object, problems: list[str]) -> Object:
    def seconds(key: str, default: float) -> float:
        try:
            return duration(said.get(key), default)
        except ValueError as error:
            problems.append(f"{key}: Invalid value: {error}")
            return default

    def switched(key: str) -> bool:
        return bool(said.get(key, True))

    timeout = seconds("timeout", 0.0)
    if not 0 < timeout <= 30:
        problems.append("timeout: Invalid value: must be greater than 0s and at most 30s")
    policy = said.get("failurePolicy")
    if policy not in ("NoOpinion", "Deny"):
        problems.append(f"failurePolicy: Unsupported value: {policy!r}: supported values: NoOpinion, Deny")
    if said.get("subjectAccessReviewVersion") != "v1":
        problems.append("subjectAccessReviewVersion: Unsupported value: supported values: v1")
    if said.get("matchConditions") and said.get("matchConditionSubjectAccessReviewVersion") != "v1":
        problems.append("matchConditionSubjectAccessReviewVersion: Unsupported value: supported values: v1")
    info = said.get("connectionInfo") or {}
    if info.get("type") != "KubeConfigFile" or not info.get("kubeConfigFile"):
        problems.append("connectionInfo: must be of type KubeConfigFile, with a kubeConfigFile")
    environment = Environment({"request": map_of(STRING, DYN)})
    conditions = []
    for number, one in enumerate(said.get("matchConditions") or ()):
        try:
            conditions.append(environment.compile(one.get("expression") or "", result=(BOOL,)))
        except CompileError as error:
            problems.append(f"matchConditions[{number}].expression: Invalid value: compilation failed: {error}")
    rules = Rules(
        seconds("authorizedTTL", 300.0) if switched("cacheAuthorizedRequests") else 0.0,
        seconds("unauthorizedTTL", 30.0) if switched("cacheUnauthorizedRequests") else 0.0,
        policy == "Deny",
        conditions,
    )
    return {"file": info.get("kubeConfigFile") or "", "timeout": timeout, "rules": rules}


@asynccontextmanager
async def open_authorization(context: Context, config: FileConfig) -> AsyncIterator[Chain]:
    """Node and RBAC are always followed, so that a later file may name them."""
    path, chain = context.file(config.file), Chain(context.log)
    async with open_nodes(context, NoConfig()) as nodes, open_rbac(context, NoConfig()) as rbac:
        built_in: dict[str, Authorizer] = {
            "Node": nodes,
            "RBAC": rbac,
            "AlwaysAllow": AlwaysAllow(),
            "AlwaysDeny": AlwaysDeny(),
        }
        await chain.use(path, built_in)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_follow, path, chain, built_in, context.log)
            yield chain
            nursery.cancel_scope.cancel()
        await chain.aclose()


async def _follow(path: Path, chain: Chain, built_in: dict[str, Authorizer], log: logging.Logger) -> None:
    from kcore import filewatch

    try:
        async with filewatch.changes(path) as changes:
            async for _ in changes:
                try:
                    await chain.use(path, built_in)
                    log.info("%s: read again", path)
                except ConfigError as error:
                    log.error("the authorization configuration stays as it was: %s", error)
    except OSError as error:
        log.warning("%s: its changes cannot be noticed: %s", path, error)
