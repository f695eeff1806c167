"""What a keypoint is called: right, wrong, mirrored or hidden, and how far from the truth is still right."""

from __future__ import annotations

import numpy as np
import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.outcomes import OUTCOMES, Outcomes, outcomes
from peftcorr.metrics.presets import PEFTCORR, PRESETS
from tests.metrics.made import Row, row, table

# Left eye at (20, 50), right eye at (80, 50), nose at (50, 80); right is what lies within 10 pixels.
PLACES = {"left_eye": (20.0, 50.0), "right_eye": (80.0, 50.0), "nose": (50.0, 80.0)}


def keypoint(name: str, prediction: tuple[float, float], **change: object) -> Row:
    (x, y), (u, v) = PLACES[name], prediction
    return row(keypoint_id=name, truth_x=x, truth_y=y, prediction_x=u, prediction_y=v, **change)


def kinds(found: Outcomes) -> list[str]:
    return [OUTCOMES[kind] for kind in found.kind]


def test_each_keypoint_is_called_what_it_is() -> None:
    rows = table(
        [
            keypoint("left_eye", (70.0, 50.0)),  # nearer to the right eye
            keypoint("right_eye", (80.0, 60.0)),  # at the very edge of what is right
            keypoint("nose", (80.0, 50.0)),  # on an eye, but a nose has no mirror image
            keypoint("nose", (50.0, 80.0), pair=1, pair_id="1", target_occluded=True),
        ]
    )
    found = outcomes("farm", rows, 0.1)
    assert kinds(found) == ["mirrored", "right", "wrong", "hidden"]
    assert found.error[:3] == pytest.approx([0.5, 0.1, np.hypot(30, 30) / 100])
    assert found.reach[:3] == pytest.approx(10.0)
    assert np.isnan(found.error[3])
    assert np.isnan(found.reach[3]).all()


def test_what_is_right_stays_right_beside_its_mirror_image() -> None:
    rows = table([keypoint("left_eye", (60.0, 50.0)), keypoint("right_eye", (80.0, 50.0))])
    assert kinds(outcomes("farm", rows, 0.3)) == ["mirrored", "right"]
    assert kinds(outcomes("farm", rows, 0.4)) == ["right", "right"]


def test_a_split_whose_every_keypoint_is_hidden() -> None:
    assert kinds(outcomes("farm", table([row(target_occluded=True)]), 0.1)) == ["hidden"]


def test_in_a_stretched_frame_the_ring_is_an_ellipse_whose_edge_is_the_limit() -> None:
    sizes = {"target_width": 400, "target_height": 200, "reference_width": 100.0, "reference_height": 60.0}
    preset = PRESETS["sd4match"]
    place = {"truth_x": 200.0, "truth_y": 100.0, **sizes}
    [reach] = outcomes("farm", table([row(**place)]), 0.1, preset).reach
    # Stretched to 768: the box is 192 x 230.4, so a tenth is 23.04 there; 1.92 times the width, 3.84 the height.
    assert reach == pytest.approx([12.0, 6.0])
    for inside, expected in ((0.999, "right"), (1.001, "wrong")):
        for axis, name in enumerate(("prediction_x", "prediction_y")):
            at = {"prediction_x": 200.0, "prediction_y": 100.0}
            at[name] += inside * reach[axis]
            assert kinds(outcomes("farm", table([row(**place, **at)]), 0.1, preset)) == [expected]


def test_a_preset_that_needs_sizes_says_so() -> None:
    with pytest.raises(PeftCorrError, match="needs target_width"):
        outcomes("farm", table([row()]), 0.1, PRESETS["sd4match"])
    assert kinds(outcomes("farm", table([row()]), 0.1, PEFTCORR)) == ["right"]
