"""What a recipe comes to, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peftcorr.console.progress import Progress
from peftcorr.engine.plan import Model, finalise
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.pipeline import run
from peftcorr.recipe import resolve

WINDOW = {"name": "window_softargmax", "radius": 1, "temperature": 5.0}


@pytest.fixture
def bench(photographs: Path, small_weights: Path, tmp_path: Path) -> Workbench:
    return Workbench({"": photographs}, small_weights, tmp_path / "out", tmp_path / "cache", Progress(None))


@pytest.fixture
def planned(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function of options: the plan of an untrained run; `WINDOW` is what was chosen for its backbone."""
    monkeypatch.setattr("peftcorr.engine.plan.chosen_predictor", lambda *_: WINDOW)

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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"predictors": ["argmax", "bilinear_argmax"]}, "for the predictor bilinear_argmax"),
        ({"convention": "marco"}, "for the convention marco"),
    ],
)
def test_what_has_no_flip_is_refused(planned: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(PeftCorrError, match=f"flip=adaptive is not made {said}"):
        planned(flip="adaptive", **options)


def test_a_flip_by_several_processes_is_refused_before_anything_is_loaded(
    planned: Any, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(flip="adaptive")
    monkeypatch.setattr(Model, "begin", lambda *_: pytest.fail("the backbone is loaded"))
    monkeypatch.setattr("peftcorr.pipeline._accelerator", lambda _: SimpleNamespace(num_processes=2))
    with pytest.raises(PeftCorrError, match="which processes do not exchange: start one process"):
        run(plan, bench)
    record = bench.store.read(plan.run_id)
    assert record is not None
    assert record.retry, "one process can do it"
