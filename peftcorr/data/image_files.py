"""Which images a dataset's folder has: each folder is listed once, no file is opened."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from peftcorr.data.arrow import scan
from peftcorr.errors import did_you_mean

_SUGGEST_AMONG = 5000  # names; among more the nearest takes seconds to find


class ImageFiles:
    """The images below `root`, found by their POSIX path relative to it."""

    def __init__(self, root: Path):
        self.root = root
        self._names: dict[str, set[str] | None] = {}

    def has_folder(self, folder: str) -> bool:
        """Whether `folder` is there."""
        return self._listed(folder) is not None

    def missing(self, path: str) -> str | None:
        """Say in one clause, with its full stop, that an image is missing; None if it is there.

        Raises:
            PeftCorrError: if a folder that is there cannot be listed.
        """
        image = PurePosixPath(path)
        names = self._listed(str(image.parent))
        if names is not None and image.name in names:
            return None
        near = did_you_mean(image.name, names) if names and len(names) < _SUGGEST_AMONG else ""
        return f"names a missing image, {self.root / path}.{near if near.startswith(' Did') else ''}"

    def _listed(self, folder: str) -> set[str] | None:
        if folder not in self._names:
            place = self.root / folder
            there = os.path.isdir(place)  # which takes any name, unlike Path.is_dir
            self._names[folder] = {entry.name for entry in scan(place)} if there else None
        return self._names[folder]
