"""Synthetic videos in the layout of TAP-Vid DAVIS's pickle: a picture that drifts, with points fixed to it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Video = dict[str, np.ndarray]


def make_video(seed: int, frames: int = 7, points: int = 4, width: int = 96, height: int = 64) -> Video:
    """`frames` cut-outs of one random picture; each point is hidden in some frames, and then has no place."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize((width + 2 * frames, height), Image.Resampling.BICUBIC))
    video = np.stack([picture[:, 2 * t : 2 * t + width] for t in range(frames)])
    start = rng.uniform((0.4, 0.1), (0.8, 0.9), (points, 2))
    tracks = np.repeat(start[:, None], frames, axis=1)
    tracks[:, :, 0] -= 2 * np.arange(frames) / width
    occluded = rng.random((points, frames)) < 0.3
    occluded[0, :2] = True  # one point that appears later
    occluded[0, 2] = False
    occluded[-1] = True  # and one that never does
    tracks[occluded] = rng.uniform(-5, 5, (int(occluded.sum()), 2))
    return {"video": video, "points": tracks, "occluded": occluded}


def photographed_videos(sequences: Path, frames: int = 6) -> dict[str, Video]:
    """The first frames of each folder of `sequences`, with one point that stays where it is and is always seen."""
    videos = {}
    for folder in sorted(sequences.iterdir()):
        video = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())[:frames]])
        points = np.full((1, frames, 2), 0.5)
        videos[folder.name] = {"video": video, "points": points, "occluded": np.zeros((1, frames), bool)}
    return videos


def write_pickle(path: Path, videos: Any, protocol: int = 4) -> Path:
    """Write a pickle as it is published; returns its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(videos, protocol))
    return path.parent


def write_videos(folder: Path, count: int = 2) -> Path:
    """``tapvid_davis.pkl`` with `count` videos; returns the folder."""
    return write_pickle(
        folder / "tapvid_davis.pkl", {f"video-{n}": make_video(n, 7 + n) for n in range(count)}
    )
