"""From a TOML file to checked settings, with every mistake of the file told at once.

A config has one table per slot (``[store]``, ``[api]``, ...) whose ``use`` names the provider; the rest of it is
structured into the provider's own attrs class, strictly: no unknown setting, no value of another type. What is
wrong is told as ``FILE: where: what; the remedy``.

    conf/dev.toml: store.pth: no such setting; did you mean 'path'?
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast, get_origin

import attrs

from kcore.errors import ConfigError

C = TypeVar("C")
Table = dict[str, Any]

SLOTS = ("store", "api", "controller_manager", "scheduler", "dns", "nodes", "proxy", "metrics")
"""In the order they open. The name of a slot, its section in the file and its seam are one word."""

TABLES = ("cluster", "connect", *SLOTS)
"""Everything that may stand at the top of a file."""

BUILT_IN = Path(__file__).parent / "conf"


@attrs.frozen
class Connect:
    """``[connect]``: for a process without an API server of its own."""

    kubeconfig: str = ""
    """How to reach the API; relative to the config file's directory."""
    parts: dict[str, str] = attrs.Factory(dict)
    """Other kubeconfigs for single parts, by slot: a node's proxy is somebody else than the node."""
    keys: str = ""
    """The data directory of the API, where this process may read it: a node or a metrics endpoint that serves TLS
    takes its certificate from there. Empty: it makes keys of its own."""


@attrs.frozen
class Config:
    """A config file as it was read: tables still raw, because only their providers know their settings."""

    source: str
    """The file's name as the user gave it, for messages."""
    tables: dict[str, Table]
    directory: Path
    """What relative paths in it are relative to."""

    def table(self, slot: str) -> Table | None:
        return self.tables.get(slot)


# --- reading -----------------------------------------------------------------------------------------------------


def built_in_names() -> list[str]:
    """The configs that come with kcore, by name: ``dev``, ``memory``, ..."""
    root = _built_in_root()
    return sorted(str(p.relative_to(root).with_suffix("")) for p in root.rglob("*.toml"))


def find(name: str) -> Path:
    """The file of a built-in config (``dev``) or of a path (``./my.toml``). Raises ConfigError."""
    path = Path(name)
    if path.suffix == ".toml" or ("/" in name and path.exists()):
        if path.is_file():
            return path
        raise ConfigError([f"{name}: no such file"])
    built_in = _built_in_root() / f"{name}.toml"
    if built_in.is_file():
        return built_in
    names = built_in_names()
    raise ConfigError([f"{name}: no such config; {_suggest(name, names)}give a path, or one of: {', '.join(names)}"])


def read(name: str = "dev", overrides: list[str] | None = None) -> Config:
    """Read a config and apply ``a.b=c`` overrides. Raises ConfigError with every problem of the file."""
    path = find(name)
    try:
        tables = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError([f"{path}: {e}"]) from e
    except OSError as e:
        raise ConfigError([f"{path}: {e.strerror}"]) from e
    for override in overrides or ():
        _override(tables, override)
    problems = [f"{path}: {p}" for p in _check_tables(tables)]
    if problems:
        raise ConfigError(problems)
    return Config(str(path), tables, path.parent)


def _built_in_root() -> Path:
    # an installed wheel has the files inside the package, a source checkout beside it
    return BUILT_IN if BUILT_IN.is_dir() else Path(__file__).parent.parent / "conf"


def _override(tables: dict[str, Any], text: str) -> None:
    path, eq, value = text.partition("=")
    keys = path.strip().split(".")
    if not eq or not all(keys):
        raise ConfigError([f"--set {text}: give it as table.setting=value, e.g. --set nodes.count=5"])
    at = tables
    for key in keys[:-1]:
        at = at.setdefault(key, {})
        if not isinstance(at, dict):
            raise ConfigError([f"--set {text}: {key} is not a table"])
    at[keys[-1]] = parse_value(value.strip())


def parse_value(text: str) -> Any:
    """A value of ``--set``: as TOML reads it, and a plain string where TOML does not."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _check_tables(tables: dict[str, Any]) -> Iterator[str]:
    for name, table in tables.items():
        if name not in TABLES:
            yield f"{name}: no such table; {_suggest(name, TABLES)}the tables are: {', '.join(TABLES)}"
        elif not isinstance(table, dict):
            yield f"{name}: this is a table: write [{name}] on a line of its own, and its settings below"
        elif name in SLOTS and not isinstance(table.get("use"), str):
            yield f'{name}.use: name the provider, e.g. use = "..."; `kcore plugins` lists them'
    if "api" in tables and "store" not in tables:
        yield "store: an [api] needs a [store] in the same process"
    if "api" not in tables and "connect" not in tables:
        yield "connect: a process without [api] needs [connect] with the kubeconfig of one"


# --- structuring -------------------------------------------------------------------------------------------------


def structure(cls: type[C], table: Table, where: str) -> C:
    """`table` as an instance of the attrs class `cls`. Raises ConfigError; `where` prefixes every problem."""
    from cattrs import ClassValidationError, IterableValidationError

    try:
        settings: C = _converter().structure(table, cls)
        return settings
    except (ClassValidationError, IterableValidationError) as e:
        raise ConfigError(list(_problems(e, where))) from e
    except (ValueError, TypeError) as e:
        raise ConfigError([f"{where}: {e}"]) from e


_cached_converter: Any = None


def _converter() -> Any:
    global _cached_converter
    if _cached_converter is None:
        from cattrs import Converter

        converter = Converter(forbid_extra_keys=True, detailed_validation=True)
        for scalar in (bool, int, str):
            converter.register_structure_hook(scalar, _exactly(scalar))
        converter.register_structure_hook(float, _number)
        converter.register_structure_hook(Any, lambda value, _: value)
        # cattrs would take a string for a list of its letters
        converter.register_structure_hook_factory(
            lambda t: get_origin(cast(Any, t)) in (list, tuple), lambda t: _list_of(converter, t)
        )
        _cached_converter = converter
    return _cached_converter


_SAY = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


def _exactly(scalar: type) -> Any:
    def hook(value: Any, _: type) -> Any:
        if type(value) is not scalar:
            raise ValueError(f"{value!r} is not {_SAY[scalar]}")
        return value

    return hook


def _number(value: Any, _: type) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _list_of(converter: Any, t: Any) -> Any:
    item = t.__args__[0]

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is not a list")
        items = [converter.structure(v, item) for v in value]
        return items if get_origin(t) is list else tuple(items)

    return hook


def _problems(error: BaseException, where: str) -> Iterator[str]:
    """Walk cattrs' tree of errors; its notes carry the path."""
    from cattrs import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

    if isinstance(error, ForbiddenExtraKeysError):
        known = [a.name for a in attrs.fields(error.cl)] if attrs.has(error.cl) else []
        for key in sorted(error.extra_fields):
            told = _suggest(key, known) or (f"the settings are: {', '.join(known)}" if known else "it has no settings")
            yield f"{where}.{key}: no such setting; {told.removesuffix('; ')}"
    elif isinstance(error, ClassValidationError | IterableValidationError):
        for inner in error.exceptions:
            yield from _problems(inner, _path(inner, where))
    elif isinstance(error, KeyError):
        yield f"{where}: the setting {error} is missing"
    else:
        yield f"{where}: {error}"


def _path(error: BaseException, where: str) -> str:
    for note in getattr(error, "__notes__", ()):
        name = getattr(note, "name", None)
        if name is not None:
            return f"{where}.{name}"
        index = getattr(note, "index", None)
        if index is not None:
            return f"{where}[{index}]"
    return where


def _suggest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{close[0]}'?; " if close else ""
