"""Parts of a test split against counting by hand: each keypoint is in one part, with the pairs that show it."""

from __future__ import annotations

from collections import defaultdict

import pytest

from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.breakdown import breakdown
from peftcorr.metrics.generalisation import PARTS, generalisation
from peftcorr.metrics.presets import preset_named
from tests.metrics.made import Row, drawn, table

KEYPOINTS, CATEGORIES = {"cat": ["1", "4"], "dog": ["0"]}, ["fox"]


def rows() -> list[Row]:
    found = drawn(1, {"cat": 5, "dog": 4, "fox": 4})
    return [{**one, "target_occluded": number % 7 == 0} for number, one in enumerate(found)]


def part_of(one: Row) -> str:
    if one["category"] in CATEGORIES:
        return "unseen_categories"
    return "unseen_keypoints" if one["keypoint_id"] in KEYPOINTS[one["category"]] else "seen"


def test_every_part_by_hand() -> None:
    made = rows()
    found = generalisation(table(made), KEYPOINTS, CATEGORIES, [0.1, 0.2])
    assert list(found) == ["farm/test"]
    assert (found["farm/test"].keypoints, found["farm/test"].categories) == (KEYPOINTS, CATEGORIES)
    scores = found["farm/test"].scores["argmax"]
    assert tuple(scores) == PARTS
    for part, own in scores.items():
        pairs: dict[int, list[bool]] = defaultdict(list)
        for one in made:
            if part_of(one) == part and not one["target_occluded"]:
                pairs[one["pair"]].append(
                    one["prediction_x"] - one["truth_x"] <= 0.1 * one["reference_length"]
                )
        every = [right for pair in pairs.values() for right in pair]
        assert (own.n_pairs, own.n_keypoints) == (len(pairs), len(every))
        assert own.per_keypoint["0.1"] == pytest.approx(100 * sum(every) / len(every), abs=1e-12)
        by_image = sum(sum(pair) / len(pair) for pair in pairs.values()) / len(pairs)
        assert own.per_image["0.1"] == pytest.approx(100 * by_image, abs=1e-12)
        assert own.intervals
        low, high = own.intervals["per_keypoint"]["0.1"]
        assert low < own.per_keypoint["0.1"] < high
    assert sum(own.n_keypoints for own in scores.values()) == sum(not one["target_occluded"] for one in made)


def test_what_is_not_there_has_no_part() -> None:
    made = [one for one in rows() if one["category"] == "dog"]
    found = generalisation(table(made), {"dog": ["99"]}, ["fox"], [0.1])
    [(part, own)] = found["farm/test"].scores["argmax"].items()
    whole = score_predictions(table(made), [0.1])["farm/test"]["argmax"]
    assert part == "seen"
    assert own.model_copy(update={"intervals": None}) == whole


def test_a_preset_and_a_breakdown_score_the_same_parts() -> None:
    made = rows()
    strict = generalisation(table(made), KEYPOINTS, CATEGORIES, [0.1], preset_named("dift"))
    plain = generalisation(table(made), KEYPOINTS, CATEGORIES, [0.1])["farm/test"]
    assert strict["farm/test"].scores["argmax"].keys() == plain.scores["argmax"].keys()
    groups = breakdown("farm", table(made), [0.1], plain).factors["what training saw"]
    assert [group.value for group in groups] == [part.replace("_", " ") for part in PARTS]
    for group, own in zip(groups, plain.scores["argmax"].values(), strict=True):
        assert (group.n_pairs, group.n_keypoints) == (own.n_pairs, own.n_keypoints)
        assert group.scores[0, 0] == pytest.approx(own.per_keypoint["0.1"], abs=1e-12)
    assert "what training saw" not in breakdown("farm", table(made), [0.1]).factors


def test_a_box_round_rounded_keypoints_is_of_all_of_the_pair() -> None:
    """A part has some of a pair's keypoints, but s of a preset that rounds them down is that of the whole pair."""
    by_pair: dict[int, list[Row]] = defaultdict(list)
    for one in drawn(
        1, {"cat": 5, "dog": 4}, keypoints=5, dataset="pf_willow", target_width=30, target_height=30
    ):
        by_pair[one["pair"]].append({**one, "truth_x": one["truth_x"] / 10, "truth_y": one["truth_y"] / 10})
    made = []
    for pair in by_pair.values():
        xs, ys = ([one[f"truth_{axis}"] for one in pair] for axis in "xy")
        width, height = max(xs) - min(xs), max(ys) - min(ys)
        if min(width, height) > 1:
            longer = max(width, height)
            sizes = {"reference_width": width, "reference_height": height, "reference_length": longer}
            for number, one in enumerate(pair):
                off = 0.03 * (1 + (one["pair"] + number) % 7) * longer
                made.append(
                    {**one, **sizes, "prediction_x": one["truth_x"] + off, "prediction_y": one["truth_y"]}
                )
    alphas, preset = [0.1, 0.15, 0.2], preset_named("visual_ai")
    whole = score_predictions(table(made), alphas, preset)["pf_willow/test"]["argmax"]
    parts = generalisation(table(made), KEYPOINTS, [], alphas, preset)["pf_willow/test"].scores["argmax"]
    assert len(parts) == 2
    for alpha, share in whole.per_keypoint.items():
        right = [own.per_keypoint[alpha] * own.n_keypoints for own in parts.values()]
        assert sum(right) == pytest.approx(share * whole.n_keypoints)
        assert 0 < share < 100
