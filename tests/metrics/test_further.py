"""Every further measure against plain Python, a keypoint at a time, and its interval against resamples by hand."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import numpy as np
import pytest

from peftcorr.metrics.bootstrap import resampled_counts, rescaled
from peftcorr.metrics.distinct import nearest_is_own
from peftcorr.metrics.dyadic import dyadic_variance
from peftcorr.metrics.further import AREA, SHARES, further
from peftcorr.metrics.geometry import geometry_aware, groups_of
from peftcorr.metrics.pair_scores import pair_scores
from peftcorr.metrics.presets import PRESETS
from peftcorr.metrics.scores import Averages, Further
from tests.metrics.made import Row, drawn, row, table

ALPHAS = (0.05, 0.1)
PRESETS_TRIED = ("peftcorr", "geoaware", "sd4match", "visual_ai", "marco")


def some_rows(seed: int) -> list[Row]:
    """Predictions of SPair-71k's cats and cars, some of which lie near another keypoint of the pair."""
    draw = random.Random(seed)
    rows = drawn(seed, {"car": 6, "cat": 5}, share=0.7, keypoints=12, dataset="spair71k")
    by_pair: dict[int, list[Row]] = {}
    for one in rows:
        by_pair.setdefault(one["pair"], []).append(one)
        one |= {
            "similarity": round(draw.uniform(0.2, 0.9), 1),  # with ties
            "target_width": 320, "target_height": 240, "reference_width": 100.0, "reference_height": 70.0,
        }  # fmt: skip
    names = list(range(30))
    for of_pair in by_pair.values():
        for one, name in zip(of_pair, draw.sample(names, len(of_pair)), strict=True):
            one["keypoint_id"] = str(name)
            if draw.random() < 0.4:
                other = draw.choice(of_pair)
                one["prediction_x"], one["prediction_y"] = other["truth_x"] + 1.3, other["truth_y"]
    draw.shuffle(rows)
    return rows


class ByHand:
    """Frame, error and correctness of each row, by a preset's words."""

    def __init__(self, rows: list[Row], preset: str):
        self.rows, self.preset = rows, preset

    def place(self, one: Row, kind: str) -> tuple[float, float]:
        x, y = one[f"{kind}_x"], one[f"{kind}_y"]
        if self.preset in ("peftcorr", "geoaware"):
            return x, y
        size = {"sd4match": 768, "visual_ai": 840, "marco": 770}[self.preset]
        less = 1 if self.preset == "visual_ai" else 0
        x, y = x * (size - less) / (320 - less), y * (size - less) / (240 - less)
        if kind == "truth" and self.preset != "sd4match":
            x, y = (min(max(v, 1e-4), size - 1 - 1e-4) for v in (x, y))
        return x, y

    def length(self) -> float:
        if self.preset in ("peftcorr", "geoaware"):
            return 100.0
        size = {"sd4match": 768, "visual_ai": 840, "marco": 770}[self.preset]
        less = 1 if self.preset == "visual_ai" else 0
        return max(100 * (size - less) / (320 - less), 70 * (size - less) / (240 - less))

    def error(self, one: Row) -> float:
        return math.dist(self.place(one, "prediction"), self.place(one, "truth")) / self.length()

    def correct(self, one: Row, alpha: float) -> bool:
        return self.error(one) < alpha if self.preset == "geoaware" else self.error(one) <= alpha

    def own_is_nearest(self, one: Row) -> bool:
        found = self.place(one, "prediction")
        others = sorted(
            (other for other in self.rows if other["pair"] == one["pair"]),
            key=lambda other: int(other["keypoint_id"]),
        )
        distances = [math.dist(found, self.place(other, "truth")) for other in others]
        return others[distances.index(min(distances))] is one

    def aware(self, one: Row) -> bool:
        """Its group has two keypoints in the target, by any pair of it."""
        seen: set[str] = set()
        for other in self.rows:
            if other["category"] == one["category"]:
                for side in ("source_image", "target_image"):
                    if other[side] == one["target_image"]:
                        seen.add(other["keypoint_id"])
        own = [group for group in groups_of("spair71k", one["category"]) if one["keypoint_id"] in group]
        return bool(own) and len(own[0] & seen) >= 2


def averages(rows: list[Row], value: Any, chosen: Any = lambda one: True) -> tuple[float, float]:
    """Over keypoints and over pairs."""
    pairs: dict[int, list[float]] = {}
    for one in rows:
        if chosen(one):
            pairs.setdefault(one["pair"], []).append(float(value(one)))
    pooled = [value for values in pairs.values() for value in values]
    return statistics.fmean(pooled), statistics.fmean(statistics.fmean(values) for values in pairs.values())


def assert_close(found: Averages, expected: tuple[float, float]) -> None:
    assert (found.per_keypoint.value, found.per_image.value) == pytest.approx(expected, abs=1e-12, rel=1e-14)


@pytest.mark.parametrize("preset", PRESETS_TRIED)
def test_every_measure_equals_the_one_by_hand(preset: str) -> None:
    rows = some_rows(1)
    hand = ByHand(rows, preset)
    found = further(table(rows), ALPHAS, PRESETS[preset], resamples=20)
    assert_close(found.fine, averages(rows, lambda one: 100 * hand.correct(one, 0.01)))
    for alpha in ALPHAS:
        right = lambda one, alpha=alpha: 100 * hand.correct(one, alpha)  # noqa: E731
        both = lambda one, alpha=alpha: 100 * (hand.correct(one, alpha) and hand.own_is_nearest(one))  # noqa: E731
        assert_close(found.distinct[f"{alpha:g}"], averages(rows, both))
        assert found.geometry_aware is not None
        assert_close(found.geometry_aware.pck[f"{alpha:g}"], averages(rows, right, hand.aware))
    aware = [one for one in rows if hand.aware(one)]
    assert found.geometry_aware is not None
    assert found.geometry_aware.n_keypoints == len(aware) < len(rows)
    assert found.geometry_aware.n_pairs == len({one["pair"] for one in aware})
    assert_close(found.mean_error, averages(rows, lambda one: 100 * hand.error(one)))
    assert found.median_error.value == pytest.approx(
        statistics.median(100 * hand.error(one) for one in rows), abs=1e-12
    )
    assert_close(found.area, averages(rows, lambda one: 100 * max(0.0, 1 - hand.error(one) / AREA)))
    assert found.confidence is not None
    ranked = sorted((one["similarity"] for one in rows), reverse=True)
    expected = []
    for share, point in zip(SHARES, found.confidence.coverage, strict=True):
        limit = float(np.float32(ranked[math.ceil(share * len(rows)) - 1]))
        kept = [one for one in rows if float(np.float32(one["similarity"])) >= limit]
        expected.append(statistics.fmean(100 * hand.correct(one, 0.1) for one in kept))
        assert point.similarity == limit
        assert point.share == pytest.approx(100 * len(kept) / len(rows), abs=1e-12)
        assert point.pck.value == pytest.approx(expected[-1], abs=1e-12)
    assert found.confidence.mean.value == pytest.approx(statistics.fmean(expected), abs=1e-12)


def test_the_measures_say_different_things() -> None:
    found = further(table(some_rows(1)), ALPHAS)
    plain = statistics.fmean(100 * ByHand([], "peftcorr").correct(one, 0.1) for one in some_rows(1))
    assert found.distinct["0.1"].per_keypoint.value < plain
    assert found.geometry_aware is not None
    assert abs(found.geometry_aware.pck["0.1"].per_keypoint.value - plain) > 0.1


def interval_by_hand(
    rows: list[Row], value: Any, chosen: Any, resamples: int, per_image: bool
) -> list[float]:
    """A pair at a time, with the resamples that PCK has."""
    pairs = pair_scores(table(rows), ALPHAS)
    names = sorted({(one["category"], one["source_image"], one["target_image"]) for one in rows})
    over, under = [], []
    for name in names:
        of_pair = [one for one in rows if (one["category"], one["source_image"], one["target_image"]) == name]
        kept = [float(value(one)) for one in of_pair if chosen(one)]
        over.append((statistics.fmean(kept) if per_image else sum(kept)) if kept else 0.0)
        under.append(float(bool(kept)) if per_image else float(len(kept)))
    estimate = sum(over) / sum(under)
    drawn_values = []
    for block in resampled_counts(pairs, resamples, 0):
        for counts in block:
            weights = [counts[s] * counts[t] for s, t in zip(pairs.source, pairs.target, strict=True)]
            drawn_values.append(
                sum(w * o for w, o in zip(weights, over, strict=True))
                / sum(w * u for w, u in zip(weights, under, strict=True))
            )
    influence = [(o - estimate * u) / sum(under) for o, u in zip(over, under, strict=True)]
    variance, freedom = dyadic_variance(
        pairs.source, pairs.target, pairs.category_of_image, np.array([influence])
    )
    moved = rescaled(np.array(drawn_values)[:, None], np.array([estimate]), np.sqrt(variance), freedom)
    return [float(end) for end in np.clip(np.quantile(moved[:, 0], [0.025, 0.975]), 0, None)]


def test_intervals() -> None:
    rows = some_rows(2)
    hand = ByHand(rows, "peftcorr")
    found = further(table(rows), ALPHAS, resamples=60)
    error, every = (lambda one: 100 * hand.error(one)), (lambda one: True)
    right = lambda one: 100 * hand.correct(one, 0.1)  # noqa: E731
    assert found.geometry_aware is not None
    aware = found.geometry_aware.pck["0.1"]
    for estimate, value, chosen, per_image in (
        (found.mean_error.per_keypoint, error, every, False),
        (found.mean_error.per_image, error, every, True),
        (aware.per_keypoint, right, hand.aware, False),
        (aware.per_image, right, hand.aware, True),
    ):
        expected = interval_by_hand(rows, value, chosen, 60, per_image)
        assert estimate.interval == pytest.approx(expected, abs=1e-4)
    low, high = found.median_error.interval or (0, 0)
    assert low < found.median_error.value < high
    assert found.confidence is not None
    everything = found.confidence.coverage[-1]
    assert everything.pck.interval is not None
    assert everything.pck.interval[0] < everything.pck.value < everything.pck.interval[1]


def test_too_few_images_have_no_interval() -> None:
    found = further(table(drawn(0, {"cat": 3}, dataset="farm", similarity=0.5)), ALPHAS)
    assert found.fine.per_keypoint.interval is None
    assert found.median_error.interval is None
    assert found.geometry_aware is None  # its groups are not known
    assert Further.model_validate_json(found.model_dump_json()) == found


def test_without_similarity_there_is_no_coverage() -> None:
    assert further(table(drawn(0, {"cat": 4})), ALPHAS).confidence is None


def test_a_tie_is_the_lower_numbers() -> None:
    """Keypoint 9 before 10, both as far from the prediction."""
    at = {"prediction_x": 50.0}
    rows = [
        row(keypoint_id="10", truth_x=40.0, **at),
        row(keypoint_id="9", truth_x=60.0, **at),
    ]
    assert nearest_is_own(table(rows), PRESETS["peftcorr"], None).tolist() == [False, True]


def test_a_group_counts_by_the_target_alone() -> None:
    """Of the paws 9 and 10 of a cat the target shows both, by another pair; the source's do not matter."""
    rows = [
        row(dataset="spair71k", keypoint_id="9"),
        row(dataset="spair71k", keypoint_id="4"),  # an eye
        row(dataset="spair71k", keypoint_id="10", pair=1, pair_id="1", source_image="b.jpg", target_image="c.jpg"),
    ]  # fmt: skip
    assert geometry_aware("spair71k", table(rows)).tolist() == [True, False, False]
    assert not geometry_aware("farm", table(rows)).any()


# Of the published table: how many keypoints count in each category, and the sum of their numbers.
GROUPED = {
    "aeroplane": (18, 225), "bicycle": (6, 37), "bird": (8, 78), "boat": (12, 78), "bottle": (10, 45),
    "bus": (28, 418), "car": (30, 435), "cat": (6, 47), "chair": (14, 91), "cow": (12, 152), "dog": (6, 47),
    "horse": (10, 121), "motorbike": (4, 6), "person": (12, 162), "pottedplant": (8, 29), "sheep": (12, 152),
    "train": (18, 153), "tvmonitor": (16, 120),
}  # fmt: skip


def test_groups_are_the_published_ones() -> None:
    for category, expected in GROUPED.items():
        groups = groups_of("spair71k", category)
        numbers = [int(name) for group in groups for name in group]
        assert (len(set(numbers)), sum(numbers)) == expected, category
        assert min(map(len, groups)) > 1
    animals = groups_of("ap10k-cross_species", "any")
    assert sorted(map(len, animals)) == [2, 2, 4, 4]
    assert len(frozenset().union(*animals)) == 12
