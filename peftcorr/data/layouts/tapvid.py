"""TAP-Vid: points to be tracked through videos, as pairs of a query frame and every other frame to be scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from peftcorr.data.arrow import Row, cached_table, stamp
from peftcorr.data.base import DatasetSource, PairDataset, Progress, given_folder
from peftcorr.data.layouts.tapvid_frames import SIDE, Tracks, frame_name, prepare, read_tracks, shared_video
from peftcorr.errors import PeftCorrError, shown

QueryMode = Literal["first", "strided"]
Ints = NDArray[np.int64]

QUERY_STRIDE = 5  # frames
_LOADER = "tapvid-1"  # raise it when the same tracks give other pairs
_VAL = "tapvid_val.pkl"


def sample_queries(occluded: NDArray[np.bool_], mode: QueryMode) -> tuple[Ints, Ints]:
    """Choose the points that are looked for (Doersch et al., "TAP-Vid", NeurIPS 2022, arXiv:2211.03726).

    ``first`` takes each track where it is first visible, ``strided`` in every fifth frame where it is visible.

    Args:
        occluded: (N, T).
        mode: how.

    Returns:
        track and query frame of each of Q queries.
    """
    if mode == "first":
        tracks = np.flatnonzero(~occluded.all(axis=1))
        return tracks, np.argmin(occluded[tracks], axis=1)
    frames, tracks = np.nonzero(~occluded[:, ::QUERY_STRIDE].T)
    return tracks, frames * QUERY_STRIDE


def evaluated_frames(query_frames: Ints, frames: int, mode: QueryMode) -> NDArray[np.bool_]:
    """Where each of Q queries is scored, (Q, T): in ``first`` after its frame, in ``strided`` in all others."""
    offset = np.arange(frames) - query_frames[:, None]
    return offset > 0 if mode == "first" else offset != 0


class Tapvid(DatasetSource):
    """One of TAP-Vid's sets.

    The data root is the folder of the pickles as published or the one that their archive was unpacked in. Frames are at
    256 x 256, the size that the metrics are defined at. A pair is a query frame and one other frame of its video; its
    keypoints are all points queried there, those that the other frame hides included (`target_occluded`).
    """

    class Config(DatasetSource.Config):
        """Options of TAP-Vid's sets."""

        queries: QueryMode = Field(
            default="first", description="where tracks are queried and scored, as TAP-Vid names it"
        )
        occlusion_threshold: Annotated[float, Field(ge=-1, le=1)] | Literal["val"] = Field(
            default=0.5,
            description="a point counts as occluded below this cosine similarity; val chooses it on tapvid_val.pkl",
        )

    config: Config
    registered: str  # name of the dataset
    published: str  # what its pickles are called; * stands for the number of one of several
    archive_folder: str  # what the published archive unpacks to

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        super().__init__(config, root, cache, progress)
        given = given_folder(root, self.registered)
        folders = [
            folder for folder in (given, given / self.archive_folder) if any(folder.glob(self.published))
        ]
        if not folders:
            raise PeftCorrError(
                f"The data root {root} has no {self.published}: mend --data-root {self.registered}=PATH."
            )
        self._folder = folders[0]
        if self.config.occlusion_threshold == "val" and "val" not in self.splits():
            raise PeftCorrError(
                f"occlusion_threshold: val needs {self._folder / _VAL}, videos other than the tested ones in the "
                f"format of {self.published}: put it there or give the threshold as a number."
            )

    @property
    def name(self) -> str:
        """The dataset's name and ``first`` or ``strided``, which are never compared."""
        return f"{self.registered}-{self.config.queries}"

    def splits(self) -> list[str]:
        """``test``, and ``val`` where there is a ``tapvid_val.pkl`` to choose the occlusion threshold on."""
        return [split for split in ("test", "val") if self._files(split)]

    def _files(self, split: str) -> list[Path]:
        pattern = _VAL if split == "val" else self.published
        return sorted(path for path in self._folder.glob(pattern) if path.is_file())

    def load(self, split: str) -> PairDataset:
        """Read a split; s is 256 pixels for every pair, so that PCK@(k/256) is the share within k pixels.

        Raises:
            PeftCorrError: if the split is not there, its pickle is not sound, or val shares a video with test.
        """
        self.require_split(split)
        folder = self._prepared(split)
        if split == "val" and (shared := shared_video(folder, self._prepared("test"))):
            raise PeftCorrError(
                f"{self._folder / _VAL} holds the video {shown(shared)} of {self.published}: what the threshold "
                "is chosen on must not be tested on."
            )
        table = cached_table(
            self,
            self._folder,
            split,
            stamp(f"{_LOADER} {self.config.queries}", folder.name.encode(), []),
            lambda: self._rows(split, folder),
        )
        return PairDataset(self.name, split, folder, table)

    def _prepared(self, split: str) -> Path:
        return prepare(self._files(split), self.cache, self.progress)

    def _rows(self, split: str, folder: Path) -> Iterator[Row]:
        found = False
        for video, tracks in read_tracks(folder).items():
            for row in _pairs(video, tracks, self.config.queries):
                found = True
                yield row
        if not found:
            raise PeftCorrError(
                f"{self._files(split)[0]} has no video with a visible point and a frame to find it in: points and "
                "occluded leave nothing to score."
            )


class TapvidDavis(Tapvid):
    """TAP-Vid DAVIS point tracking (Doersch et al., 2022)."""

    registered = archive_folder = "tapvid_davis"
    published = "tapvid_davis.pkl"


class TapvidRgbStacking(Tapvid):
    """TAP-Vid RGB-Stacking point tracking (Doersch et al., 2022).

    50 rendered videos of a robot's arm, a list in one pickle.
    """

    registered = archive_folder = "tapvid_rgb_stacking"
    published = "tapvid_rgb_stacking.pkl"


class TapvidKinetics(Tapvid):
    """TAP-Vid Kinetics point tracking (Doersch et al., 2022).

    The pickles are those that TAP-Vid's own script makes of the videos.
    """

    registered = archive_folder = "tapvid_kinetics"
    published = "*_of_*.pkl"


class TapvidRobotap(Tapvid):
    """RoboTAP point tracking (Vecerik et al., 2023).

    265 videos of robots, in TAP-Vid's format.
    """

    registered = "tapvid_robotap"
    archive_folder = "robotap"
    published = "robotap_split*.pkl"


def _pairs(video: str, tracks: Tracks, mode: QueryMode) -> Iterator[Row]:
    """One pair for each frame with queries and each frame that these are scored in."""
    queried, query_frames = sample_queries(tracks.occluded, mode)
    # The annotation's frame begins at the first pixel's outer edge, ours at its centre.
    points = tracks.points * SIDE - 0.5
    for frame in np.unique(query_frames).tolist():
        here = queried[query_frames == frame]
        shared = {
            "category": video,
            "source_image": frame_name(video, frame),
            "source_size": [SIDE, SIDE],
            "target_size": [SIDE, SIDE],
            "source_keypoints": points[here, frame].tolist(),
            "keypoint_ids": [str(track) for track in here],
            "source_box": [],
            "target_box": [],
            "reference_length": float(SIDE),
        }
        [evaluated] = evaluated_frames(np.array([frame]), tracks.occluded.shape[1], mode)
        for other in np.flatnonzero(evaluated).tolist():
            yield {
                **shared,
                "pair_id": f"{video}:{frame:05d}-{other:05d}",
                "target_image": frame_name(video, other),
                "target_keypoints": points[here, other].tolist(),
                "target_occluded": tracks.occluded[here, other].tolist(),
            }
