"""A config file is refused as a whole, with every mistake named."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from kcore import config
from kcore.errors import ConfigError


@attrs.frozen
class Inner:
    use: str = "fake"
    delay: float = 0.0


@attrs.frozen
class Settings:
    path: str = "state.db"
    count: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    sync: bool = True
    names: list[str] = attrs.Factory(list)
    inner: Inner = attrs.Factory(Inner)


def problems(table: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.structure(Settings, table, "dev.toml: store")
    return caught.value.problems


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "my.toml"
    path.write_text(text)
    return str(path)


def test_every_mistake_of_a_table_is_told_at_once() -> None:
    told = problems({"pth": "x", "sync": "false", "names": "ab", "inner": {"delay": "1", "q": 2}})
    assert sorted(told) == [
        "dev.toml: store.inner.delay: '1' is not a number",
        "dev.toml: store.inner.q: no such setting; the settings are: use, delay",
        "dev.toml: store.names: 'ab' is not a list",
        "dev.toml: store.pth: no such setting; did you mean 'path'?",
        "dev.toml: store.sync: 'false' is not true or false",
    ]


@pytest.mark.parametrize(("value", "told"), [(True, "True is not a whole number"), (1.5, "1.5 is not a whole number")])
def test_numbers_are_not_coerced(value: object, told: str) -> None:
    assert problems({"count": value}) == [f"dev.toml: store.count: {told}"]


def test_a_validator_of_the_class_speaks_with_the_path() -> None:
    assert problems({"count": 0}) == ["dev.toml: store: 'count' must be >= 1: 0"]


def test_a_whole_number_is_good_where_a_float_is_wanted() -> None:
    assert config.structure(Settings, {"inner": {"delay": 2}}, "x").inner.delay == 2.0


def test_an_unknown_table_a_missing_use_and_a_missing_store_are_told_together(tmp_path: Path) -> None:
    path = write(tmp_path, '[api]\nport = 1\n[stor]\nuse = "sqlite"\n')
    with pytest.raises(ConfigError) as caught:
        config.read(path)
    told = "\n".join(caught.value.problems)
    assert "stor: no such table; did you mean 'store'?" in told
    assert "api.use: name the provider" in told
    assert "store: an [api] needs a [store]" in told


def test_overrides_reach_into_tables_and_are_typed_as_toml(tmp_path: Path) -> None:
    path = write(tmp_path, '[store]\nuse = "memory"\n[api]\nuse = "http"\n')
    read = config.read(path, ["nodes.count=5", "nodes.use=embedded", "api.names=['a']"])
    assert read.tables["nodes"] == {"count": 5, "use": "embedded"}
    assert read.tables["api"]["names"] == ["a"]


@pytest.mark.parametrize("text", ["nodes.count", "=5", "a..b=1", "store.use.x=1"])
def test_a_bad_override_says_how_to_write_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        config.read(write(tmp_path, '[store]\nuse = "memory"\n[api]\nuse = "http"\n'), [text])


def test_a_misspelt_config_name_is_answered_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'dev'\?"):
        config.read("dve")


def test_bad_toml_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 1"):
        config.read(write(tmp_path, "[store\n"))
