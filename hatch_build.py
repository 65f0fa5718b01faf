"""Build hook: puts the schema bundle of the built-in kinds into the wheel (and into an editable install's tree)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs `kcore_kinds._extract`, loaded by path: nothing of kcore can be imported while it is being built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        target = Path(self.root) / "plugins" / "kcore_kinds"
        spec = importlib.util.spec_from_file_location("kcore_kinds_extract", target / "_extract.py")
        assert spec is not None
        assert spec.loader is not None
        extract = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(extract)
        release = extract.source()
        if release is None:
            raise RuntimeError("building kcore needs the package kubernetes-validate>=1.37")
        extract.write(target, release)
