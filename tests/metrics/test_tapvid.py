"""Tracking scores against a count of one point after the other, written from TAP-Vid's definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from peftcorr.data.layouts.tapvid import QueryMode, evaluated_frames, sample_queries
from peftcorr.errors import PeftCorrError
from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.tapvid import choose_on, choose_threshold, score_tracking
from peftcorr.predictions import PREDICTION_SCHEMA

THRESHOLD = 0.4


class World:
    """Random videos with tracks, and predictions for every query in every frame."""

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        self.truth: dict[str, np.ndarray] = {}
        self.occluded: dict[str, np.ndarray] = {}
        self.guess: dict[str, np.ndarray] = {}  # by query frame, track and frame
        self.similarity: dict[str, np.ndarray] = {}
        for name in ("zebra", "bear", "cows"):
            tracks, frames = int(rng.integers(3, 8)), int(rng.integers(6, 14))
            truth = rng.uniform(0, 256, (tracks, frames, 2))
            occluded = rng.random((tracks, frames)) < 0.4
            occluded[1] = True
            shape = (frames, tracks, frames)
            angle, distance = rng.uniform(0, 2 * np.pi, shape), 2 ** rng.uniform(-1, 6, shape)
            self.truth[name], self.occluded[name] = truth, occluded
            self.guess[name] = truth + distance[..., None] * np.stack((np.cos(angle), np.sin(angle)), -1)
            self.similarity[name] = (
                np.where(rng.random(shape) < 0.8, ~occluded, occluded) - rng.random(shape) / 2
            )
            truth[occluded] = np.nan  # no place to be compared with

    def table(self, mode: QueryMode) -> pa.Table:
        """As the pipeline makes it, in any order."""
        rows: list[dict[str, Any]] = []
        for name, truth in self.truth.items():
            tracks, query_frames = sample_queries(self.occluded[name], mode)
            scored = evaluated_frames(query_frames, truth.shape[1], mode)
            for query, frame in zip(*np.nonzero(scored), strict=True):
                track, queried = tracks[query], query_frames[query]
                x, y = self.guess[name][queried, track, frame]
                rows.append(
                    {
                        "dataset": "tracks", "split": "test", "predictor": "argmax", "category": name,
                        "pair": 1000 * list(self.truth).index(name) + 20 * queried + frame,
                        "pair_id": f"{name}:{queried}-{frame}", "keypoint_id": str(track),
                        "truth_x": truth[track, frame, 0], "truth_y": truth[track, frame, 1],
                        "prediction_x": x, "prediction_y": y, "reference_length": 256.0,
                        "target_occluded": self.occluded[name][track, frame],
                        "similarity": self.similarity[name][queried, track, frame],
                    }
                )  # fmt: skip
        np.random.default_rng(0).shuffle(rows)  # type: ignore[arg-type]
        return pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)

    def brute_force(self, mode: QueryMode) -> dict[str, dict[str, float]]:
        """Scores of every video in percent, one query and one frame after the other."""
        found = {}
        for name, occluded in self.occluded.items():
            tracks, frames = occluded.shape
            queries = []
            for track in range(tracks):
                seen = [frame for frame in range(frames) if not occluded[track, frame]]
                if mode == "first":
                    queries += [(track, seen[0])] if seen else []
                else:
                    queries += [(track, frame) for frame in seen if frame % 5 == 0]
            right = total = visible = 0
            within = dict.fromkeys((1, 2, 4, 8, 16), 0)
            true_positive, false_positive, false_negative = dict(within), dict(within), dict(within)
            for track, queried in queries:
                for frame in range(frames):
                    if frame == queried or (mode == "first" and frame < queried):
                        continue
                    hidden = float(np.float32(self.similarity[name][queried, track, frame])) < THRESHOLD
                    is_occluded = bool(occluded[track, frame])
                    total += 1
                    right += hidden == is_occluded
                    visible += not is_occluded
                    dx, dy = self.guess[name][queried, track, frame] - self.truth[name][track, frame]
                    for pixels in within:
                        near = not is_occluded and dx * dx + dy * dy < pixels * pixels
                        within[pixels] += near
                        if near and not hidden:
                            true_positive[pixels] += 1
                        else:
                            false_positive[pixels] += not hidden
                            false_negative[pixels] += not is_occluded
            delta = [100 * count / visible for count in within.values()]
            jaccard = [
                100 * true_positive[k] / (true_positive[k] + false_positive[k] + false_negative[k])
                for k in within
            ]
            found[name] = {
                "delta_avg": sum(delta) / 5, "occlusion_accuracy": 100 * right / total,
                "average_jaccard": sum(jaccard) / 5, "delta_4": delta[2], "jaccard_16": jaccard[4],
                "points": total, "visible": visible,
            }  # fmt: skip
        return found


@pytest.mark.parametrize("mode", ["first", "strided"])
@pytest.mark.parametrize("seed", range(5))
def test_every_score_equals_one_counted_point_by_point(seed: int, mode: QueryMode) -> None:
    world = World(seed)
    scores = score_tracking(world.table(mode), THRESHOLD, "fixed")["tracks/test"]["argmax"]
    expected = world.brute_force(mode)

    def mean(key: str) -> float:
        return sum(video[key] for video in expected.values()) / len(expected)

    for key in ("delta_avg", "occlusion_accuracy", "average_jaccard"):
        assert getattr(scores, key) == pytest.approx(mean(key), rel=0, abs=1e-12)
        for name, video in expected.items():
            assert getattr(scores.per_video[name], key) == pytest.approx(video[key], rel=0, abs=1e-12)
    assert scores.delta["4"] == pytest.approx(mean("delta_4"), rel=0, abs=1e-12)
    assert scores.jaccard["16"] == pytest.approx(mean("jaccard_16"), rel=0, abs=1e-12)
    assert list(scores.per_video) == ["bear", "cows", "zebra"]
    assert scores.n_points == sum(video["points"] for video in expected.values())
    assert scores.n_visible == sum(video["visible"] for video in expected.values())
    assert scores.n_pairs == len(set(world.table(mode).column("pair_id").to_pylist()))
    assert 5 < scores.average_jaccard < scores.delta_avg < 95


def row(**change: Any) -> dict[str, Any]:
    given = dict.fromkeys(("dataset", "split", "predictor", "pair_id", "category", "keypoint_id"), "a")
    place = {
        "truth_x": 10.0,
        "truth_y": 10.0,
        "prediction_x": 10.0,
        "prediction_y": 10.0,
        "reference_length": 256.0,
    }
    return {**given, **place, "pair": 0, "target_occluded": False, "similarity": 1.0, **change}


def score(*rows: dict[str, Any], threshold: float = 0.5) -> Any:
    return score_tracking(pa.Table.from_pylist(list(rows), schema=PREDICTION_SCHEMA), threshold, "fixed")[
        "a/a"
    ]["a"]


def test_a_distance_of_the_threshold_itself_is_not_within_it() -> None:
    assert score(row(prediction_x=14.0)).delta == {"1": 0, "2": 0, "4": 0, "8": 100, "16": 100}
    assert score(row(prediction_x=13.999)).delta["4"] == 100


def test_a_similarity_of_the_threshold_itself_is_visible() -> None:
    assert score(row(similarity=0.5)).occlusion_accuracy == 100
    assert score(row(similarity=0.49)).occlusion_accuracy == 0
    assert score(row(similarity=0.49)).average_jaccard == 0
    assert score(row(similarity=0.49)).delta_avg == 100, "delta ignores what is said of occlusion"


def test_a_visible_point_at_the_wrong_place_counts_twice_against_jaccard() -> None:
    far = row(prediction_x=200.0)
    assert score(row(), far).average_jaccard == pytest.approx(100 / 3)  # 1 / (1 + 1 FP + 1 FN)
    assert score(row(), row(target_occluded=True)).average_jaccard == 50  # 1 / (1 + 1 FP)


def test_another_frame_is_scaled_to_256_pixels() -> None:
    assert score(row(prediction_x=17.0, reference_length=512.0)).delta == {
        "1": 0, "2": 0, "4": 100, "8": 100, "16": 100,
    }  # fmt: skip


def test_videos_count_alike_and_one_without_a_visible_point_counts_for_occlusion_alone() -> None:
    """No visible point was shown, so there is neither a delta nor a Jaccard to be had of that video."""
    rows = [
        row(),
        row(prediction_x=99.0),
        row(category="b"),
        row(category="c", target_occluded=True, similarity=0.0),
    ]
    scores = score(*rows)
    assert scores.delta_avg == 75
    assert scores.occlusion_accuracy == 100
    assert scores.per_video["c"].delta_avg is None
    assert scores.per_video["c"].average_jaccard is None


def test_what_cannot_be_scored_is_one_sentence() -> None:
    with pytest.raises(PeftCorrError, match="no video has a visible point"):
        score(row(target_occluded=True, similarity=0.0))
    for change in ({"prediction_x": float("nan")}, {"truth_y": float("inf")}):
        with pytest.raises(PeftCorrError, match="is not finite"):
            score(row(**change))


def test_datasets_that_do_not_tell_occlusion_have_no_tracks() -> None:
    table = pa.Table.from_pylist([row(target_occluded=None)], schema=PREDICTION_SCHEMA)
    assert score_tracking(table, 0.5, "fixed") == {}
    assert score_tracking(table.slice(0, 0), 0.5, "fixed") == {}


def test_predictors_are_scored_apart() -> None:
    rows = [row(), row(category="b"), row(predictor="window", prediction_x=99.0)]
    table = pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)
    scores = score_tracking(table, 0.5, "val")["a/a"]
    assert {name: one.delta_avg for name, one in scores.items()} == {"a": 100, "window": 0}
    assert list(scores["window"].per_video) == ["a"]
    assert scores["a"].threshold_chosen == "val"


def test_pck_leaves_occluded_keypoints_out() -> None:
    rows = [
        row(),
        row(target_occluded=True, truth_x=float("nan")),
        row(pair=1, pair_id="b", prediction_x=99.0),
    ]
    table = pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)
    scores = score_predictions(table, [0.1])["a/a"]["a"]
    assert (scores.n_keypoints, scores.n_pairs, scores.per_keypoint) == (2, 2, {"0.1": 50.0})


# The occlusion threshold


@pytest.mark.parametrize("seed", range(4))
def test_the_chosen_threshold_is_the_best_there_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    videos = rng.integers(0, 3, 60)
    occluded = rng.random(60) < 0.4
    similarity = np.round(np.where(occluded, 0.3, 0.6) + rng.normal(0, 0.2, 60), 1).astype(np.float32)

    def accuracy(threshold: float) -> float:
        right = (similarity.astype(np.float64) < threshold) == occluded
        return float(np.mean([right[videos == video].mean() for video in range(3)]))

    chosen = choose_threshold(similarity, occluded, videos)
    assert accuracy(chosen) == pytest.approx(max(accuracy(t) for t in np.linspace(-1, 2, 3001)))


@pytest.mark.parametrize("occluded", [True, False])
def test_a_threshold_may_call_all_points_the_same(occluded: bool) -> None:
    similarity = np.array([0.25, 0.5, 0.75], dtype=np.float32)
    chosen = choose_threshold(similarity, np.full(3, occluded), np.zeros(3, dtype=np.int64))
    assert ((similarity.astype(np.float64) < chosen) == occluded).all()


def test_a_threshold_is_chosen_on_a_table() -> None:
    rows = [row(similarity=0.75), row(similarity=0.25, target_occluded=True)]
    table = pa.Table.from_pylist([*rows, row(predictor="b", similarity=9.0)], schema=PREDICTION_SCHEMA)
    assert choose_on(table) == 0.5
    with pytest.raises(PeftCorrError, match="no point to be scored"):
        choose_threshold(np.zeros(0), np.zeros(0, bool), np.zeros(0, np.int64))
