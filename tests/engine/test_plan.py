"""What a recipe comes to, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcorr.console.progress import Progress
from peftcorr.engine.plan import finalise
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.recipe import resolve

WINDOW = {"name": "window_softargmax", "radius": 1, "temperature": 5.0}


@pytest.fixture
def planned(photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function of options: the plan of an untrained run; `WINDOW` is what was chosen for its backbone."""
    monkeypatch.setattr("peftcorr.engine.plan.chosen_predictor", lambda *_: WINDOW)
    bench = Workbench({"": photographs}, small_weights, tmp_path / "out", tmp_path / "cache", Progress(None))

    def of(**options: Any) -> Any:
        named = {"strategy": "frozen", "backbone": "small", "dataset": "pairs"}
        return finalise(resolve({**named, **options}, [], None), bench)

    return of


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["argmax", "argmax"], ["argmax"]),
        (["argmax", WINDOW, {"name": "argmax"}], ["argmax", WINDOW]),
        (["tuned", "argmax", WINDOW], [WINDOW, "argmax"]),
        (["argmax", "tuned", WINDOW, "tuned"], ["argmax", WINDOW]),
        ([WINDOW, "argmax", "tuned"], [WINDOW, "argmax"]),
        ("tuned", [WINDOW]),
    ],
)
def test_a_predictor_has_one_place_and_what_was_tuned_its_own(planned: Any, asked: Any, found: Any) -> None:
    """The first one selects the step."""
    plan = planned(predictors=asked)
    assert plan.recipe.predictors == [{"name": one} if one == "argmax" else one for one in found]
    assert len(plan.labels) == len(plan.predictors) == len(found)


def test_two_predictors_of_one_name_in_the_scores(planned: Any) -> None:
    with pytest.raises(PeftCorrError, match=r"two of them are window_softargmax\(radius=1,temperature=5\)"):
        planned(predictors=[WINDOW, {**WINDOW, "temperature": 5.0000001}])
