"""The benchmark in the cache: rendered once, by one process while the others wait, and ahead where that saves time."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from peftcorr.data.synthetic.generate import (
    Progress,
    SyntheticConfig,
    generate,
    images_in_all,
    images_written,
)
from peftcorr.errors import PeftCorrError
from peftcorr.files import unsealed
from peftcorr.machine.folders import Place, require_room

_IMAGE = 40_000  # bytes on disk of a picture and its share of the pairs: 80,000 were measured
_LOOK_EVERY = 0.2  # seconds between looks at a rendering that somebody else does


class _Left(Exception):
    """Nobody waits for the rendering any more."""


def rendered(cache: Path, config: SyntheticConfig, progress: Progress | None = None) -> Path:
    """Folder of the rendered benchmark, which is rendered if the cache does not have it.

    Args:
        cache: the cache folder.
        config: what to render.
        progress: called with (images rendered, images in all), whoever renders them.

    Raises:
        PeftCorrError: if the cache cannot be written or has no room.
    """
    folder = cache / "synthetic" / config.fingerprint()
    if folder.is_dir() and unsealed(folder) is None:
        return folder
    try:
        if folder.is_dir():
            with _lock(folder):
                # Another process may have made it anew by now.
                if folder.is_dir() and unsealed(folder) is not None:
                    shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _require_room(cache, config)
        while not _render(folder, config, progress):
            _report(folder, config, progress)
    except OSError as error:
        raise PeftCorrError(
            f"Cannot write the synthetic benchmark to {folder} ({error.strerror or error}): free some "
            "space or choose another cache folder."
        ) from error
    return folder


@contextmanager
def rendering_ahead(cache: Path, config: SyntheticConfig) -> Iterator[None]:
    """Render in the background while the block runs, unless somebody does; what is left undone then is dropped.

    What goes wrong here is not said: `rendered` meets it again, where it is needed.
    """
    left = threading.Event()

    def leave(done: int, total: int) -> None:
        if left.is_set():
            raise _Left

    def work() -> None:
        folder = cache / "synthetic" / config.fingerprint()
        with suppress(Exception):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _require_room(cache, config)
            with _lock(folder).acquire(blocking=False):
                generate(folder, config, progress=leave)

    thread = threading.Thread(target=work, name="rendering ahead")
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def _require_room(cache: Path, config: SyntheticConfig) -> None:
    place = Place("cache folder", cache, "set PEFTCORR_CACHE to another")
    require_room([(place, images_in_all(config) * _IMAGE)])


def _render(folder: Path, config: SyntheticConfig, progress: Progress | None) -> bool:
    """Whether it is there now; if somebody else renders it, false after a moment."""
    try:
        with _lock(folder).acquire(timeout=_LOOK_EVERY):
            generate(folder, config, progress=progress)
    except Timeout:
        return False
    _report(folder, config, progress)
    return True


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def _report(folder: Path, config: SyntheticConfig, progress: Progress | None) -> None:
    """Tell how far the other process or thread is, by the files that it has written."""
    if progress is None:
        return
    total = images_in_all(config)
    progress(total if folder.is_dir() else min(images_written(folder), total - 1), total)
