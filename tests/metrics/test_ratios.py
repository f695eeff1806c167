from __future__ import annotations

import numpy as np
import pytest

from peftcorr.metrics.pair_scores import pair_scores
from peftcorr.metrics.ratios import Ratios, ratio_intervals
from tests.metrics.made import drawn, table


def test_a_measure_that_a_resample_lost_takes_no_other_one_with_it() -> None:
    pairs = pair_scores(table(drawn(0, {"cat": 6})), [0.1])
    under = np.stack([pairs.keypoints, pairs.keypoints, np.zeros(len(pairs))])
    under[2, :3] = 1.0  # of few pairs
    ratios = Ratios(pairs, under * np.linspace(0.2, 0.8, len(pairs)), under)
    values = np.random.default_rng(0).normal(0.5, 0.1, (200, 3))
    mixed = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.5, 0.5, 0], [0.5, 0, 0.5]])
    whole = ratio_intervals(ratios, mixed, values)[0]
    lost = values.copy()
    lost[values[:, 0] > 0.5, 2] = np.nan
    found = ratio_intervals(ratios, mixed, lost)[0]
    apart = [0, 1, 3]
    assert found[apart].tolist() == whole[apart].tolist()
    assert found[4] != pytest.approx(whole[4]), "what it is a part of does lose the resample"
