"""TAP-Vid's pickles of videos, taken apart once: frames as images at the size of the metrics, tracks as arrays."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from peftcorr.data.arrow import only_folder, stamp, told
from peftcorr.data.base import Progress
from peftcorr.data.decode import MAX_PIXELS
from peftcorr.data.layouts.fields import LARGEST, single_name
from peftcorr.data.layouts.restricted_pickle import load_arrays
from peftcorr.errors import PeftCorrError, reason, shown
from peftcorr.files import seal_folder, unsealed

SIDE = 256  # pixels: the frame that TAP-Vid's metrics are defined in
_VERSION = "tapvid-frames-3"  # raise it when the same pickles give other files
_ENCODED = ("JPEG", "PNG")  # what a frame given as bytes may be
_TRACKS = "tracks.npz"
_NUMBERED = re.compile(r"(.*-)?\d{4,}")  # names that videos of a list have here: see `_named`
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


def prepare(paths: Sequence[Path], cache: Path, progress: Progress | None = None) -> Path:
    """Write the frames and tracks of pickles below `cache`, unless an earlier call did; return their folder.

    Frames are resized to 256 x 256 with PIL's Lanczos filter as in TAP-Vid's own evaluation, and stored without loss.
    The folder appears when it is complete; of several processes one writes it and the others wait. It holds for the
    pickles' sizes and times of change, and takes the place of that of an earlier version.

    Args:
        paths: files of one folder, each a dict from a video's name to a dict of ``video``, (T, H, W, 3) uint8 or T
            frames as the bytes of JPEG files, ``points`` (N, T, 2) float and ``occluded`` (N, T) bool; or a list of
            such dicts, which are then numbered.
        cache: folder that all caches live in.

    Raises:
        PeftCorrError: if a pickle is not what it should be, naming video and field, or the cache cannot be written.
    """
    about = [(path.name, (status := path.stat()).st_size, status.st_mtime_ns) for path in paths]
    shelf = cache / "tapvid" / hashlib.blake2b(str(paths[0].resolve()).encode(), digest_size=6).hexdigest()
    folder = shelf / stamp(_VERSION, repr(about).encode(), [])
    if _sound(folder):
        return folder
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        with FileLock(shelf / ".lock"):
            if not _sound(folder):
                shutil.rmtree(folder, ignore_errors=True)  # it was changed since, or a disk lost a bit
                _write(paths, shelf, folder, progress)
    except OSError as error:
        raise PeftCorrError(
            f"Cannot write the frames of {paths[0]} to {shelf} ({error.strerror or error}): free some space or choose "
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


def shared_video(ours: Path, theirs: Path) -> str | None:
    """Name of a video that is in two folders of `prepare`; None if there is none.

    Two videos are the same if their pickles gave them one name, or if their first, middle and last frames are the same.
    What a list's videos are called here says nothing: the first is 0000 in every one.

    Raises:
        PeftCorrError: as `read_tracks`.
    """
    one, other = read_tracks(ours), read_tracks(theirs)
    named = sorted(name for name in one.keys() & other.keys() if not _NUMBERED.fullmatch(name))
    if named:
        return named[0]
    seen = {_look(theirs, name, tracks) for name, tracks in other.items()}
    return next((name for name, tracks in one.items() if _look(ours, name, tracks) in seen), None)


def _look(folder: Path, name: str, tracks: Tracks) -> bytes:
    """Digest of the first, the middle and the last frame of a video."""
    frames, found = tracks.occluded.shape[1], hashlib.blake2b(digest_size=16)
    for frame in (0, frames // 2, frames - 1):
        with Image.open(folder / frame_name(name, frame), formats=("PNG",)) as image:
            found.update(image.tobytes())
    return found.digest()


def _write(paths: Sequence[Path], shelf: Path, folder: Path, progress: Progress | None) -> None:
    tracks: dict[str, Tracks] = {}
    with only_folder(shelf, folder.name) as temporary:
        for path in paths:  # one after the other: a set's files together may be larger than memory
            videos = _named(path, load_arrays(path), path.stem if len(paths) > 1 else "")
            found = {name: _checked(path, name, video) for name, video in videos.items()}
            if again := next((name for name in found if name in tracks), None):
                raise PeftCorrError(f"{path}: the video {shown(again)} is in another of its files already.")
            tracks.update(found)
            for name in told(list(found), progress):
                (temporary / name).mkdir()
                frames = _frames(
                    path, name, videos.pop(name)["video"]
                )  # popped: its memory is free afterwards
                for index, frame in enumerate(frames):
                    small = frame.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                    small.save(temporary / frame_name(name, index), compress_level=1)
        np.savez(
            temporary / _TRACKS,
            **{f"points/{name}": track.points for name, track in tracks.items()},  # type: ignore[arg-type]
            **{f"occluded/{name}": track.occluded for name, track in tracks.items()},  # type: ignore[arg-type]
        )
        seal_folder(temporary)


def _named(path: Path, content: object, stem: str) -> dict[Any, Any]:
    """The videos of a pickle by name; those of a list are numbered, after the file where there are several."""
    if isinstance(content, list):
        content = {f"{stem}-{n:04d}" if stem else f"{n:04d}": video for n, video in enumerate(content)}
    if not isinstance(content, dict) or not content:
        raise PeftCorrError(f"{path}: it must hold a dict of videos by name, or a list of videos.")
    return content


def _frames(path: Path, name: str, frames: Any) -> Iterator[Image.Image]:
    """The frames of one video, decoded one after the other where they are encoded."""
    for number, frame in enumerate(frames):
        if not isinstance(frame, bytes):
            yield Image.fromarray(frame)
            continue
        try:
            with Image.open(io.BytesIO(frame), formats=_ENCODED) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels")
                decoded = image.convert("RGB")
        except Exception as error:  # damage makes PIL's decoders raise errors of many kinds
            raise PeftCorrError(
                f"{path}: frame {number} in video of {shown(name)} cannot be decoded ({reason(error)}): get it again."
            ) from error
        yield decoded


def _sound(folder: Path) -> bool:
    return folder.is_dir() and unsealed(folder) is None


def _is_encoded(frames: Any) -> bool:
    """Whether a video's frames are bytes of one file each; an array of bytes has those of numpy, which are bytes."""
    rows = isinstance(frames, (list, tuple)) or (isinstance(frames, np.ndarray) and frames.ndim == 1)
    return rows and len(frames) > 0 and all(isinstance(frame, bytes) for frame in frames)


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

    frames: Any = video.get("video")
    encoded = _is_encoded(frames)
    if not encoded:
        frames = array("video", "u", 4, "uint8 (T, H, W, 3), or bytes of JPEG files")
    points = array("points", "f", 3, "float (N, T, 2)").astype(np.float64)
    # numpy takes the bytes of truth values for 0 and 1, but a damaged file may have others
    occluded = array("occluded", "b", 2, "bool (N, T)").view(np.uint8) != 0
    if not encoded and (frames.dtype != np.uint8 or frames.shape[3] != 3 or 0 in frames.shape):
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
