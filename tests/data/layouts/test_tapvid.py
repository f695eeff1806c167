"""TAP-Vid DAVIS from its pickle: frames, pairs of both query modes, and a run to the record."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from accelerate.state import AcceleratorState, GradientState
from PIL import Image

from peftcorr.cli import main
from peftcorr.data.correspondences import correspondences
from peftcorr.data.guard import require_open
from peftcorr.data.layouts.tapvid import TapvidDavis, evaluated_frames, sample_queries
from peftcorr.data.layouts.tapvid_frames import prepare, read_tracks
from peftcorr.errors import PeftCorrError
from peftcorr.metrics.tapvid import choose_on
from peftcorr.predictions import read_predictions
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.small_videos import make_video, photographed_videos, write_pickle, write_videos


def source(root: Path, cache: Path, **options: Any) -> TapvidDavis:
    return TapvidDavis(TapvidDavis.Config(**options), root, cache)


def test_queries_and_scored_frames_by_hand() -> None:
    hidden = np.ones((3, 12), dtype=bool)
    hidden[0, [3, 5, 10]] = False
    hidden[2, [0, 5, 11]] = False
    tracks, frames = sample_queries(hidden, "first")
    assert (tracks.tolist(), frames.tolist()) == ([0, 2], [3, 0])
    tracks, frames = sample_queries(hidden, "strided")
    assert list(zip(frames.tolist(), tracks.tolist(), strict=True)) == [(0, 2), (5, 0), (5, 2), (10, 0)]
    scored = evaluated_frames(np.array([2, 4]), 5, "first")
    assert scored.tolist() == [[False, False, False, True, True], [False] * 5]
    scored = evaluated_frames(np.array([2]), 4, "strided")
    assert scored.tolist() == [[True, True, False, True]]


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_pairs_are_the_annotation_at_256_pixels(tmp_path: Path, mode: Any) -> None:
    videos = {name: make_video(seed, frames) for name, seed, frames in (("b", 1, 12), ("a", 2, 3))}
    root = write_pickle(tmp_path / "tapvid_davis" / "tapvid_davis.pkl", videos)
    dataset = source(root.parent, tmp_path / "cache", queries=mode).load("test")
    assert (dataset.name, dataset.split) == (f"tapvid_davis-{mode}", "test")
    found = set()
    for pair in dataset.table:
        name, queried, frame = re.fullmatch(r"(\w):(\d{5})-(\d{5})", pair["pair_id"]).groups()  # type: ignore[union-attr]
        queried, frame = int(queried), int(frame)
        assert (pair["category"], pair["reference_length"]) == (name, 256.0)
        assert pair["source_image"] == f"{name}/{queried:05d}.png"
        assert pair["target_image"] == f"{name}/{frame:05d}.png"
        assert pair["source_size"] == pair["target_size"] == [256, 256]
        for row, track in enumerate(map(int, pair["keypoint_ids"])):
            points, hidden = videos[name]["points"][track], videos[name]["occluded"][track]
            assert not hidden[queried]
            assert pair["source_keypoints"][row] == (256 * points[queried] - 0.5).tolist()
            assert pair["target_keypoints"][row] == (256 * points[frame] - 0.5).tolist()
            assert pair["target_occluded"][row] == hidden[frame]
            found.add((name, track, queried, frame))
    expected = set()
    for name, video in videos.items():
        for track, hidden in enumerate(video["occluded"]):
            seen = np.flatnonzero(~hidden).tolist()
            if mode == "first":
                expected |= {(name, track, seen[0], t) for t in range(len(hidden)) if seen and t > seen[0]}
            else:
                queries = [q for q in seen if q % 5 == 0]
                expected |= {(name, track, q, t) for q in queries for t in range(len(hidden)) if t != q}
    assert found == expected
    assert len(set(dataset.table["pair_id"])) == len(dataset.table)


def test_frames_are_stored_without_loss_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = {"one": make_video(3)}
    root = write_pickle(tmp_path / "root" / "tapvid_davis.pkl", videos)
    folder = source(root, tmp_path / "cache").load("test").image_root
    for number, frame in enumerate(videos["one"]["video"]):
        with Image.open(folder / f"one/{number:05d}.png") as stored:
            resized = Image.fromarray(frame).resize((256, 256), Image.Resampling.LANCZOS)
            np.testing.assert_array_equal(np.asarray(stored), np.asarray(resized))
    [tracks] = read_tracks(folder).values()
    np.testing.assert_array_equal(tracks.points, videos["one"]["points"])
    np.testing.assert_array_equal(tracks.occluded, videos["one"]["occluded"])

    def never(*arguments: object) -> None:
        raise AssertionError("the pickle is read again")

    monkeypatch.setattr("peftcorr.data.layouts.tapvid_frames.load_arrays", never)
    assert source(root, tmp_path / "cache", queries="strided").load("test").image_root == folder
    [kept] = folder.glob("*.npz")
    kept.write_bytes(b"no archive")
    sentence = (
        rf"{re.escape(str(kept))} is damaged \(.*\): delete the folder {re.escape(str(folder))} and run again"
    )
    with pytest.raises(PeftCorrError, match=sentence):
        read_tracks(folder)
    np.savez(
        kept, **{"points/one": np.array([object()]), "occluded/one": np.zeros(1, bool)}, allow_pickle=True
    )
    with pytest.raises(PeftCorrError, match=r"damaged .*allow_pickle=False"):
        read_tracks(folder)


def test_another_pickle_takes_the_place_of_the_first(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "root", 1)
    first = source(root, tmp_path / "cache").load("test").image_root
    write_videos(root, 2)
    dataset = source(root, tmp_path / "cache").load("test")
    assert set(dataset.table["category"]) == {"video-0", "video-1"}
    assert not first.exists()
    assert [path.name for path in dataset.image_root.parent.iterdir() if path.is_dir()] == [
        dataset.image_root.name
    ]


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_videos(tmp_path / "root")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("numpy.savez", full)
        with pytest.raises(
            PeftCorrError, match=r"Cannot write the frames .*No space left on device"
        ) as caught:
            prepare([root / "tapvid_davis.pkl"], tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [".lock"]
    assert prepare([root / "tapvid_davis.pkl"], tmp_path / "cache").is_dir()


def test_points_that_are_hidden_need_no_finite_place(tmp_path: Path) -> None:
    video = make_video(0)
    video["points"][video["occluded"]] = np.nan
    root = write_pickle(tmp_path / "root" / "tapvid_davis.pkl", {"one": video})
    dataset = source(root, tmp_path / "cache").load("test")
    data = correspondences(dataset)
    assert data.occluded is not None
    at_the_centre = (data.target_points == 127.5).all(axis=1)
    assert data.occluded.tolist() == at_the_centre.tolist()
    assert np.isfinite(data.source_points).all()


def changed(field: str, change: Callable[[Any], Any]) -> Any:
    video: Any = make_video(0)
    video[field] = change(video[field])
    return {"clip": video}


def outside(points: Any) -> Any:
    return np.where(np.isfinite(points), points + 2.0, points)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must hold a dict of videos"),
        ({}, "must hold a dict of videos"),
        ({b"clip": make_video(0)}, "the name of a video is b'clip'; it must be text"),
        ({("clip", 1): make_video(0)}, "a dict with a key of type tuple"),
        ({"../up": make_video(0)}, r"the name of a video is '\.\./up'; it must be a plain name"),
        ({"": make_video(0)}, "the name of a video is empty"),
        ({"clip": [1]}, "the video 'clip' must be a dict"),
        ({"clip": {"video": make_video(0)["video"]}}, "points of the video 'clip' is NoneType"),
        (changed("video", lambda video: video.tolist()[:1]), "video of the video 'clip' is list; it must be uint8"),
        (changed("video", lambda video: video.astype(float)), r"video of the video 'clip' is float64 \(7, 64, 96, 3\)"),
        (changed("video", lambda video: video[..., 0]), "video of the video 'clip' is uint8"),
        (changed("video", lambda video: video[..., :2]), r"it must be uint8 \(T, H, W, 3\)"),
        (changed("video", lambda video: video[:, :0]), r"it must be uint8 \(T, H, W, 3\)"),
        (changed("video", lambda video: video[:-1]), "do not fit each other"),
        (changed("points", lambda points: points[:, :-1]), "do not fit each other"),
        (changed("points", lambda points: points[..., :1]), "do not fit each other"),
        (changed("points", lambda points: points.astype(int)), "points of the video 'clip' is int64"),
        (changed("points", outside), "a visible point outside the frame"),
        (changed("points", lambda points: points * np.nan), "a visible point outside the frame"),
        (changed("points", lambda points: points - 1.6), "a visible point outside the frame"),
        (changed("occluded", lambda occluded: occluded.astype(int)), "occluded of the video 'clip' is int64"),
        (changed("occluded", lambda occluded: occluded[:-1]), "do not fit each other"),
        (changed("occluded", lambda occluded: occluded | True), "no video with a visible point"),
    ],
)  # fmt: skip
def test_malformed_pickles_name_video_and_field(tmp_path: Path, content: Any, message: str) -> None:
    root = write_pickle(tmp_path / "root" / "tapvid_davis.pkl", content)
    with pytest.raises(PeftCorrError, match=message) as caught:
        source(root, tmp_path / "cache").load("test")
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    root = write_pickle(tmp_path / "root" / "tapvid_davis.pkl", {"clip": Hostile()})
    with pytest.raises(PeftCorrError, match="no pickle of numpy arrays alone"):
        source(root, tmp_path / "cache").load("test")
    assert not (tmp_path / "ran").exists()
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_roots_and_splits(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"has no tapvid_davis\.pkl: mend --data-root"):
        source(tmp_path, tmp_path)
    with pytest.raises(PeftCorrError, match=r"none is not a folder: mend --data-root"):
        source(tmp_path / "none", tmp_path)
    with pytest.raises(PeftCorrError, match="--data-root tapvid_davis=PATH"):
        TapvidDavis(TapvidDavis.Config(), None, tmp_path)
    root = write_videos(tmp_path / "root")
    assert source(root, tmp_path).splits() == ["test"]
    with pytest.raises(PeftCorrError, match="has no split 'val'"):
        source(root, tmp_path).load("val")
    with pytest.raises(PeftCorrError, match=r"occlusion_threshold: val needs .*tapvid_val\.pkl"):
        source(root, tmp_path, occlusion_threshold="val")


def test_the_threshold_is_not_chosen_on_tested_videos(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "root")
    write_pickle(root / "tapvid_val.pkl", {"video-1": make_video(9)})
    with pytest.raises(
        PeftCorrError, match=r"tapvid_val\.pkl holds the video 'video-1' of tapvid_davis\.pkl"
    ):
        source(root, tmp_path / "cache", occlusion_threshold="val").load("val")
    write_pickle(root / "tapvid_val.pkl", {"other": make_video(9)})
    assert set(source(root, tmp_path / "cache").load("val").table["category"]) == {"other"}


# From the command line to the record


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Record]:
    """Scores frozen tiny on a folder; returns the only record of an output folder."""
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def scored(root: Path, output: str, *assignments: str, limit: int | None = None) -> Record:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        command = ["run", "--strategy", "frozen", "--dataset", "tapvid_davis", "--data-root", str(root)]
        command += ["--output", str(tmp_path / output), "--set", "encode_batch=4", *assignments]
        assert main([*command, *(["--limit-pairs", str(limit)] if limit else [])]) == 0
        [record] = Store(tmp_path / output).records()
        return record

    return scored


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_a_run_leaves_tracking_scores(tmp_path: Path, run: Callable[..., Record], mode: str) -> None:
    root = write_videos(tmp_path / "root")
    record = run(root, "out", f"dataset.queries={mode}")
    name = f"tapvid_davis-{mode}"
    assert record.dataset == name
    assert record.tracking.keys() == record.scores.keys() == {f"{name}/test"}
    scores = record.tracking[f"{name}/test"]
    assert scores.keys() == record.scores[f"{name}/test"].keys()
    argmax = scores["argmax"]
    assert argmax.per_video.keys() == {"video-0", "video-1"}
    assert (argmax.occlusion_threshold, argmax.threshold_chosen) == (0.5, "fixed")
    assert argmax.delta_avg > 20, "points that drift over a random picture are easy to find"
    dataset = source(root, tmp_path / "cache", queries=mode).load("test")
    frames = {*dataset.table["source_image"], *dataset.table["target_image"]}
    assert record.cost is not None
    assert record.cost.encoder_forwards == len(frames) <= 7 + 8
    table = read_predictions(Store(tmp_path / "out").predictions_path(record.run_id))
    assert len(table) == 2 * argmax.n_points
    similarity = table.column("similarity").to_numpy()
    assert 0.1 < similarity.min() < similarity.max() <= 1 + 1e-6
    assert record.scores[f"{name}/test"]["argmax"].n_keypoints == argmax.n_visible < argmax.n_points
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    row = f"| {argmax.delta_avg:.2f} | {argmax.occlusion_accuracy:.2f} | {argmax.average_jaccard:.2f} | 0.5 (fixed) |"
    assert row in page


def test_the_threshold_chosen_on_other_videos_is_recorded(
    tmp_path: Path, run: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And while it is chosen nobody can look at the test split."""
    root = write_videos(tmp_path / "root")
    write_pickle(root / "tapvid_val.pkl", {"other": make_video(9)})
    fixed = run(root, "fixed").tracking["tapvid_davis-first/test"]["argmax"]
    looked_at: list[float] = []

    def watched(table: pa.Table) -> float:
        assert table["split"].unique().to_pylist() == ["val"]
        assert table["category"].unique().to_pylist() == ["other"]
        with pytest.raises(PeftCorrError, match="before the choice of the occlusion threshold had ended"):
            require_open("test")
        looked_at.append(choose_on(table))
        return looked_at[0]

    monkeypatch.setattr("peftcorr.engine.scoring.choose_on", watched)
    record = run(root, "chosen", "dataset.occlusion_threshold=val")
    chosen = record.tracking["tapvid_davis-first/test"]["argmax"]
    assert [chosen.occlusion_threshold] == looked_at
    assert chosen.threshold_chosen == "val"
    assert chosen.occlusion_threshold != fixed.occlusion_threshold
    assert chosen.delta_avg == fixed.delta_avg
    assert chosen.per_video.keys() == {"video-0", "video-1"}
    page = (tmp_path / "chosen" / "README.md").read_text(encoding="utf-8")
    assert f"{chosen.occlusion_threshold:.3g} (chosen on val)" in page


def test_a_limited_run_is_labelled_as_a_subset(tmp_path: Path, run: Callable[..., Record]) -> None:
    """Pairs in which nothing is visible are asked for and have no PCK: fewer are scored than the limit says."""
    video = make_video(0, frames=9, points=3)
    video["occluded"][:] = True
    video["occluded"][1, [0, 5]] = False  # the evenly spaced pairs are frame 0 with 1, 3, 5 and 7
    root = write_pickle(
        tmp_path / "root" / "tapvid_davis.pkl", {"one": {**video, "points": video["points"] * 0 + 0.5}}
    )
    record = run(root, "out", limit=4)
    assert record.scores["tapvid_davis-first/test"]["argmax"].n_pairs == 1
    assert record.tracking["tapvid_davis-first/test"]["argmax"].n_pairs == 4
    assert ", subset: " in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_real_davis_frames(shared_root: Path, tmp_path: Path) -> None:
    """Six frames of each of two sequences, packed as TAP-Vid packs them."""
    videos = photographed_videos(shared_root / "data" / "davis" / "JPEGImages" / "480p")
    assert pickle.dumps(videos)[:2] == b"\x80\x04"
    root = write_pickle(tmp_path / "root" / "tapvid_davis.pkl", videos)
    dataset = source(root, tmp_path / "cache").load("test")
    assert set(dataset.table["category"]) == {"blackswan", "car-shadow"}
    assert len(dataset) == 2 * 5
    with Image.open(dataset.image_root / "blackswan" / "00005.png") as image:
        assert image.size == (256, 256)
