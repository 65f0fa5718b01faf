"""Finding plugins and choosing among what they offer.

Entry points of the group ``kcore`` are named ``<seam>-<name>``. An entry point is loaded only when it is asked for,
so a plugin that no config names costs nothing. pluggy checks every hook against `kcore.hookspecs` and says which
plugin misspelt what.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from kcore import config, hookspecs
from kcore.errors import ConfigError
from kcore.registry import Choice, Provider

GROUP = "kcore"
BUILTIN = "builtin"
"""The entry point of a seam for which one module offers many: all controllers, all policies of upstream."""


def seams() -> dict[str, str]:
    """Every seam and what it is for, from the hook specifications."""
    found = {}
    for name, function in vars(hookspecs).items():
        if name.startswith("kcore_"):
            found[name.removeprefix("kcore_")] = (inspect.getdoc(function) or "").splitlines()[0]
    return found


class Plugins:
    """The plugins of one process."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("kcore")
        self._manager.add_hookspecs(hookspecs)
        self._found: dict[str, EntryPoint] = {e.name: e for e in entry_points(group=GROUP)}
        self._loaded: set[str] = set()

    def installed(self) -> Iterator[tuple[str, str, EntryPoint]]:
        """(seam, name, entry point) of everything that is installed, without importing it."""
        known = sorted(seams(), key=len, reverse=True)
        for entry in sorted(self._found.values(), key=lambda e: e.name):
            for seam in known:
                if entry.name.startswith(seam + "-"):
                    yield seam, entry.name.removeprefix(seam + "-"), entry
                    break

    def register(self, plugin: Any, name: str) -> None:
        """Add a plugin that has no entry point (a test's, an embedding program's)."""
        self._manager.register(plugin, name)
        self._manager.check_pending()

    def offers(self, seam: str, name: str = "") -> list[Any]:
        """What plugins offer for a seam; with a `name`, only the plugin of that name is loaded first.

        Raises ConfigError if a plugin that had to be loaded cannot be imported.
        """
        self._load(seam, name)
        return self._offered(seam)

    def _offered(self, seam: str) -> list[Any]:
        return [offer for offers in getattr(self._manager.hook, f"kcore_{seam}")() for offer in offers]

    def _find(self, seam: str, name: str) -> Provider[Any] | None:
        for provider in self._offered(seam):
            if isinstance(provider, Provider) and provider.name == name:
                return provider
        return None

    def choose(self, seam: str, name: str, table: dict[str, Any], where: str) -> Choice:
        """The provider of that name with its checked settings (without ``use``). Raises ConfigError."""
        provider = self._find(seam, name)
        for entry in (name, BUILTIN, ""):  # from the likely to all, so that no plugin is imported in vain
            if provider is None:
                self._load(seam, entry)
                provider = self._find(seam, name)
        if provider is not None:
            settings = {k: v for k, v in table.items() if k != "use"}
            return Choice(provider, config.structure(provider.config, settings, where))
        names = [n for s, n, _ in self.installed() if s == seam]
        close = difflib.get_close_matches(name, names, n=1)
        told = f"did you mean '{close[0]}'?" if close else f"installed are: {', '.join(names) or 'none'}"
        raise ConfigError([f"{where}: no {seam} is called '{name}'; {told}"])

    def _load(self, seam: str, name: str) -> None:
        """Import the seam's plugin of that name, if there is one; "" imports all of the seam."""
        wanted = [f"{seam}-{name}"] if name else [n for n in self._found if n.startswith(f"{seam}-")]
        for name in wanted:
            if name not in self._found:
                continue
            if name in self._loaded:
                continue
            point = self._found[name]
            try:
                module = point.load()
            except Exception as e:
                raise ConfigError(
                    [f"plugin {name} ({point.value}) cannot be imported: {type(e).__name__}: {e}"]
                ) from e
            self._loaded.add(name)
            if not self._manager.is_registered(module):
                try:
                    self._manager.register(module, name)
                except pluggy.PluginValidationError as e:
                    raise ConfigError([f"plugin {name}: {e}"]) from e
