"""What a convention fills in of a recipe, and what a recipe may not ask for beside it."""

from __future__ import annotations

import pytest

from peftcorr.data.frame import FRAMINGS
from peftcorr.errors import PeftCorrError
from peftcorr.matching.conventions import CONVENTIONS
from peftcorr.metrics.presets import PRESETS
from peftcorr.recipe import Recipe, resolve


def test_every_convention_has_a_framing_and_a_preset() -> None:
    assert list(CONVENTIONS) == list(FRAMINGS)
    assert {convention.preset for convention in CONVENTIONS.values()} <= set(PRESETS)


def test_a_convention_brings_its_preset_and_predictors() -> None:
    recipe = resolve({}, ["convention=geoaware"], None)
    assert recipe.preset == "geoaware"
    assert recipe.predictors[0] == {
        "name": "window_softargmax", "radius": 7, "temperature": 50.0, "outside": "zero",
    }  # fmt: skip
    values = recipe.model_dump(mode="json")
    assert values["convention"] == "geoaware"
    assert Recipe.model_validate(values) == recipe
    own = resolve({}, ["convention=sd4match", "predictors=argmax"], None)
    assert own.predictors == [{"name": "argmax"}]


def test_the_default_convention_leaves_run_ids_as_they_were() -> None:
    recipe = resolve({}, ["convention=peftcorr"], None)
    assert not {"convention", "flip"} & set(recipe.model_dump(mode="json"))
    assert recipe.digest() == resolve({}, [], None).digest()
    digests = {resolve({}, [f"convention={name}"], None).digest() for name in CONVENTIONS}
    assert len(digests) == len(CONVENTIONS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["convention=sd4mach"], r"Unknown convention 'sd4mach'\. Did you mean 'sd4match'\?"),
        (["convention=sd4match", "preset=dift"], "scores by the preset sd4match: leave preset out"),
        (["convention=marco", "backbone.resize=pad"], "leave backbone.resize out"),
        (["convention=dift", "predictors=argmax"], "predicts by upsampled_argmax alone"),
        (["convention=geoaware", "predictors=bilinear_argmax"], "geoaware reads no feature between cells"),
        (["convention=marco", "predictors=tuned"], "name a radius and a temperature"),
        (["convention=[dift]"], "Unknown convention"),
    ],
)
def test_what_goes_against_a_convention_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(PeftCorrError, match=message):
        resolve({}, settings, None)
