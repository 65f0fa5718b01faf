"""The file: an ``apiserver.config.k8s.io/v1`` EncryptionConfiguration (kube-apiserver --encryption-provider-config).

The first entry of `resources` that names a resource decides about it. Its first provider (its first key) writes;
all of them read, each what bears its prefix.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from kcore.api.atrest.transform import AesCbc, AesGcm, Chain, Identity, Transformer
from kcore.errors import ConfigError

_SIZES = {"aescbc": (16, 24, 32), "aesgcm": (16, 24, 32), "secretbox": (32,)}


class Rules:
    """Which chain of providers a stored resource goes through."""

    def __init__(self, entries: list[tuple[list[tuple[str, str]], Chain]]) -> None:
        self._entries = entries
        self._remembered: dict[str, Chain | None] = {}

    def chain(self, prefix: str) -> Chain | None:
        """By store prefix, ``core/secrets`` or ``apps/deployments``; None for what is stored as it is."""
        try:
            return self._remembered[prefix]
        except KeyError:
            pass
        group, _, plural = prefix.partition("/")
        group = "" if group == "core" else group
        found = None
        for names, chain in self._entries:
            if any(g in (group, "*") and r in (plural, "*") for g, r in names):
                found = chain
                break
        self._remembered[prefix] = found
        return found


def read(path: Path | str) -> Rules:
    """Raises ConfigError with every mistake of the file."""
    import yaml

    try:
        doc = yaml.load(Path(path).read_text(), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        # not what the parser shows of the file: there are keys in it
        why = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise ConfigError([f"{path}: the encryption configuration cannot be read: {why}"]) from None
    return parse(doc, str(path))


def parse(doc: Any, where: str = "encryption configuration") -> Rules:
    """Raises ConfigError."""
    problems: list[str] = []
    if (
        not isinstance(doc, dict)
        or doc.get("kind") != "EncryptionConfiguration"
        or doc.get("apiVersion") != "apiserver.config.k8s.io/v1"
        or not isinstance(doc.get("resources"), list)
        or not doc["resources"]
    ):
        raise ConfigError(
            [f"{where}: an EncryptionConfiguration of apiserver.config.k8s.io/v1 with resources is expected"]
        )
    entries = []
    for i, entry in enumerate(doc["resources"]):
        at = f"{where}: resources[{i}]"
        if not isinstance(entry, dict):
            problems.append(f"{at}: an object is expected")
            continue
        names = entry.get("resources")
        if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
            problems.append(f"{at}.resources: a list of names is expected: secrets, deployments.apps, *.apps, *.*")
            names = []
        entries.append(([_resource(name) for name in names], _chain(entry.get("providers"), at, problems)))
    if problems:
        raise ConfigError(problems)
    return Rules(entries)


def _resource(name: str) -> tuple[str, str]:
    """(group, plural): ``secrets``, ``deployments.apps``; ``*.`` is all of the core group, ``*.*`` everything."""
    plural, _, group = name.partition(".")
    return group, plural


def _chain(given: Any, at: str, problems: list[str]) -> Chain:
    made: list[Transformer] = []
    if not isinstance(given, list) or not given:
        problems.append(f"{at}.providers: at least one provider is required")
        return Chain([Identity()])
    for i, provider in enumerate(given):
        path = f"{at}.providers[{i}]"
        if not isinstance(provider, dict) or len(provider) != 1:
            problems.append(f"{path}: exactly one provider is expected: aescbc, aesgcm or identity")
            continue
        ((name, settings),) = provider.items()
        if name == "identity":
            made.append(Identity())
        elif name in ("aescbc", "aesgcm"):
            kind = AesCbc if name == "aescbc" else AesGcm
            made += [kind(key, secret) for key, secret in _keys(name, settings, path, problems)]
        else:
            problems.append(f"{path}: {name} is not to be had here: use aesgcm, aescbc or identity")
    return Chain(made or [Identity()])


def _keys(provider: str, settings: Any, path: str, problems: list[str]) -> list[tuple[str, bytes]]:
    keys = settings.get("keys") if isinstance(settings, dict) else None
    if not isinstance(keys, list) or not keys:
        problems.append(f"{path}.{provider}.keys: at least one key is required")
        return []
    found: list[tuple[str, bytes]] = []
    for i, key in enumerate(keys):
        at = f"{path}.{provider}.keys[{i}]"
        name = key.get("name") if isinstance(key, dict) else None
        if not isinstance(name, str) or not name or ":" in name:
            problems.append(f"{at}.name: a name without a colon is required")
            continue
        try:
            secret = base64.b64decode(key.get("secret") or "", validate=True)
        except (binascii.Error, ValueError, TypeError):
            problems.append(f"{at}.secret: base64 is expected")
            continue
        if len(secret) not in _SIZES[provider]:
            sizes = ", ".join(map(str, _SIZES[provider]))
            problems.append(f"{at}.secret: {len(secret)} bytes; a key has one of {sizes}")
        elif any(name == other for other, _ in found):
            problems.append(f"{at}.name: there are two keys of this name")
        else:
            found.append((name, secret))
    return found
