"""Plugins written for a test and loaded as a new process would load them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from peftcorr.backbones import BACKBONES
from peftcorr.data import DATASETS
from peftcorr.matching import PREDICTORS
from peftcorr.registry import load_plugin_file
from peftcorr.strategies import STRATEGIES

REGISTRIES = (STRATEGIES, BACKBONES, DATASETS, PREDICTORS)


class Plugins:
    """Files and distributions of plugins, loaded as a new process would load them."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch):
        self.folder = folder
        self.site = folder / "site"
        self._patch = patch
        self._before = [dict(registry._entries) for registry in REGISTRIES]
        patch.syspath_prepend(str(self.site))
        for registry in REGISTRIES:
            patch.setattr(registry, "_entries", registry._entries)
            patch.setattr(registry, "_scanned", True)

    def forget(self) -> None:
        """What a new process does not know: modules and names of plugins."""
        for registry, entries in zip(REGISTRIES, self._before, strict=True):
            registry._entries = dict(entries)  # type: ignore[assignment]
        for name in [
            name for name in sys.modules if name.partition(".")[0].startswith(("peftcorr_", "own_"))
        ]:
            self._patch.delitem(sys.modules, name)

    def file(self, code: str, name: str = "own.py") -> Path:
        """Write a plugin's file and load it, alone."""
        self.forget()
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
        load_plugin_file(path)
        return path

    def distribution(self, files: dict[str, str], entry: str, version: str = "1.0") -> None:
        """Install files as the distribution ``own-plugin`` whose strategy ``own`` is `entry`, alone."""
        self.forget()
        shutil.rmtree(self.site, ignore_errors=True)
        about = f"own_plugin-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: own-plugin\nVersion: {version}\n"
        points = f"[peftcorr.strategies]\nown = {entry}\n"
        for name, text in {
            **files,
            f"{about}/METADATA": metadata,
            f"{about}/entry_points.txt": points,
        }.items():
            (self.site / name).parent.mkdir(parents=True, exist_ok=True)
            (self.site / name).write_text(text, encoding="utf-8")
        self._patch.syspath_prepend(str(self.site))  # which forgets what was found there
        STRATEGIES._scanned = False
