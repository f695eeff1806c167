"""TAP-Vid's pickle of videos, taken apart once: frames as images at the size of the metrics, tracks as arrays."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from peftcorr.data.arrow import only_folder, stamp, told
from peftcorr.data.base import Progress
from peftcorr.data.layouts.fields import LARGEST, single_name
from peftcorr.data.layouts.restricted_pickle import load_arrays
from peftcorr.errors import PeftCorrError, reason, shown
from peftcorr.files import seal_folder, unsealed

SIDE = 256  # pixels: the frame that TAP-Vid's metrics are defined in
_VERSION = "tapvid-frames-2"  # raise it when the same pickle gives other files
_TRACKS = "tracks.npz"
_BEYOND = 0.1  # share of the frame by which a visible point may lie outside


@dataclass(frozen=True)
class Tracks:
    """The tracks of one video: N points in T frames.

    Attributes:
        points: x, y as shares of the frame's width and height, (N, T, 2); without meaning where occluded.
        occluded: (N, T).
    """

    points: NDArray[np.float64]
    occluded: NDArray[np.bool_]


def frame_name(video: str, frame: int) -> str:
    """Path of a frame below the folder of `prepare`."""
    return f"{video}/{frame:05d}.png"


def prepare(path: Path, cache: Path, progress: Progress | None = None) -> Path:
    """Write the frames and tracks of a pickle below `cache`, unless an earlier call did; return their folder.

    Frames are resized to 256 x 256 with PIL's Lanczos filter as in TAP-Vid's own evaluation, and stored without loss.
    The folder appears when it is complete; of several processes one writes it and the others wait. It holds for the
    pickle's size and time of change, and takes the place of that of an earlier version.

    Args:
        path: dict from a video's name to a dict of ``video`` (T, H, W, 3) uint8, ``points`` (N, T, 2) float and
            ``occluded`` (N, T) bool.
        cache: folder that all caches live in.

    Raises:
        PeftCorrError: if the pickle is not what it should be, naming video and field, or the cache cannot be written.
    """
    shelf = cache / "tapvid" / hashlib.blake2b(str(path.resolve()).encode(), digest_size=6).hexdigest()
    folder = shelf / stamp(_VERSION, path.name.encode(), [path.parent], path.name)
    if _sound(folder):
        return folder
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        with FileLock(shelf / ".lock"):
            if not _sound(folder):
                shutil.rmtree(folder, ignore_errors=True)  # it was changed since, or a disk lost a bit
                _write(path, shelf, folder, progress)
    except OSError as error:
        raise PeftCorrError(
            f"Cannot write the frames of {path} to {shelf} ({error.strerror or error}): free some space or choose "
            "another cache folder."
        ) from error
    return folder


def read_tracks(folder: Path) -> dict[str, Tracks]:
    """Tracks of every video of a folder that `prepare` gave, by name.

    Raises:
        PeftCorrError: if the file was damaged since.
    """
    try:
        with np.load(folder / _TRACKS, allow_pickle=False) as arrays:
            names = [key.partition("/")[2] for key in arrays if key.startswith("points/")]
            return {name: Tracks(arrays[f"points/{name}"], arrays[f"occluded/{name}"]) for name in names}
    except Exception as error:  # zip files and arrays that are damaged raise errors of many kinds
        raise PeftCorrError(
            f"{folder / _TRACKS} is damaged ({reason(error)}): delete the folder {folder} and run again."
        ) from error


def _write(path: Path, shelf: Path, folder: Path, progress: Progress | None) -> None:
    videos = load_arrays(path)
    if not isinstance(videos, dict) or not videos:
        raise PeftCorrError(f"{path}: it must hold a dict of videos by name.")
    tracks = {name: _checked(path, name, video) for name, video in videos.items()}
    with only_folder(shelf, folder.name) as temporary:
        for name in told(list(tracks), progress):
            (temporary / name).mkdir()
            for index, frame in enumerate(videos.pop(name)["video"]):  # popped: its memory is free afterwards
                small = Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                small.save(temporary / frame_name(name, index), compress_level=1)
        np.savez(
            temporary / _TRACKS,
            **{f"points/{name}": track.points for name, track in tracks.items()},  # type: ignore[arg-type]
            **{f"occluded/{name}": track.occluded for name, track in tracks.items()},  # type: ignore[arg-type]
        )
        seal_folder(temporary)


def _sound(folder: Path) -> bool:
    return folder.is_dir() and unsealed(folder) is None


def _checked(path: Path, name: object, video: object) -> Tracks:
    """The tracks of one video of a pickle, after a look at all that it holds."""
    if not isinstance(name, str):
        raise PeftCorrError(f"{path}: the name of a video is {shown(name)}; it must be text.")
    if problem := single_name(name):
        raise PeftCorrError(f"{path}: the name of a video {problem}.")
    if name == _TRACKS:
        raise PeftCorrError(
            f"{path}: the name of a video is {shown(name)}, which the file of the tracks has here."
        )
    if not isinstance(video, dict):
        raise PeftCorrError(f"{path}: the video {shown(name)} must be a dict of video, points and occluded.")

    def array(field: str, kinds: str, dimensions: int, shape: str) -> NDArray[Any]:
        found = video.get(field)
        if not isinstance(found, np.ndarray) or found.ndim != dimensions or found.dtype.kind not in kinds:
            what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
            raise PeftCorrError(f"{path}: {field} of the video {shown(name)} is {what}; it must be {shape}.")
        return np.asarray(found)

    frames = array("video", "u", 4, "uint8 (T, H, W, 3)")
    points = array("points", "f", 3, "float (N, T, 2)").astype(np.float64)
    # numpy takes the bytes of truth values for 0 and 1, but a damaged file may have others
    occluded = array("occluded", "b", 2, "bool (N, T)").view(np.uint8) != 0
    if frames.dtype != np.uint8 or frames.shape[3] != 3 or 0 in frames.shape:
        raise PeftCorrError(
            f"{path}: video of {shown(name)} is {frames.dtype} {frames.shape}; it must be uint8 (T, H, W, 3)."
        )
    if points.shape != (*occluded.shape, 2) or len(frames) != occluded.shape[1]:
        raise PeftCorrError(
            f"{path}: in the video {shown(name)}, {len(frames)} frames, points {points.shape} and occluded "
            f"{occluded.shape} do not fit each other; they must be T, (N, T, 2) and (N, T)."
        )
    seen = points[~occluded]
    if not (np.abs(seen - 0.5) <= 0.5 + _BEYOND).all():  # NaN fails the comparison too
        raise PeftCorrError(
            f"{path}: points of the video {shown(name)} has a visible point outside the frame; x and y must be shares "
            "of its width and height, 0 to 1."
        )
    # Where a point is hidden its place has no meaning, but what is no number would spoil all that is computed with it.
    points[~(np.abs(points) <= LARGEST).all(axis=2)] = 0.5
    return Tracks(points, occluded)
