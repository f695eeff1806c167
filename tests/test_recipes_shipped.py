"""The recipes that ship: every one is valid, says how to run it, and is the experiment it is named after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcorr.config import make
from peftcorr.errors import PeftCorrError
from peftcorr.matching import PREDICTORS
from peftcorr.recipe import read, resolve
from peftcorr.strategies import STRATEGIES

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def benchmark_recipes() -> list[Path]:
    """All of `recipes/` but the pretraining's, which is no benchmark run."""
    return sorted(
        path for path in RECIPES.rglob("*.yaml") if "strategy" in read(path) or "dataset" in read(path)
    )


def test_there_are_recipes() -> None:
    names = {str(path.relative_to(RECIPES)) for path in benchmark_recipes()}
    assert "default.yaml" in names
    published = ("frozen", "last-1", "last-2", "last-3", "lora", "adapter", "adaptformer")
    assert {f"spair71k/{name}.yaml" for name in published} <= names
    others = {str(path.relative_to(RECIPES)) for path in RECIPES.rglob("*.yaml")} - names
    others = {name for name in others if not name.startswith("tables/")}  # tests/sweep/test_tables.py
    assert others <= {"pretrain_tiny.yaml"}


@pytest.mark.parametrize("path", benchmark_recipes(), ids=lambda path: str(path.relative_to(RECIPES)))
def test_a_shipped_recipe_is_valid_and_says_how_to_run_it(path: Path) -> None:
    recipe = resolve({}, [], path)
    assert make(STRATEGIES, recipe.strategy)
    assert all(make(PREDICTORS, section) for section in recipe.predictors)
    if path.name != "base.yaml":
        head = path.read_text(encoding="utf-8").splitlines()[0]
        assert head.startswith("# ")
        assert f"--recipe recipes/{path.relative_to(RECIPES)}" in head


def test_the_default_recipe_is_the_default() -> None:
    assert resolve({}, [], RECIPES / "default.yaml").digest() == resolve({}, [], None).digest()


def test_it_is_found_by_its_name_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("default", "spair71k/lora", "spair71k/lora.yaml", "leaderboard/tiny/last-2"):
        file = RECIPES / name if name.endswith(".yaml") else RECIPES / f"{name}.yaml"
        assert resolve({}, [], Path(name)).digest() == resolve({}, [], file).digest()


def test_a_file_of_that_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("spair71k").mkdir()
    Path("spair71k", "lora").write_text("extends: mine.yaml\n")
    Path("spair71k", "mine.yaml").write_text("seed: 7\n")
    assert resolve({}, [], Path("spair71k/lora")).seed == 7


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("defualt", "default"), ("spair71k/lorra", "spair71k/lora"), ("spair71k", "spair71k/")],
)
def test_a_wrong_name_is_refused_with_the_nearest(
    name: str, nearest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PeftCorrError, match=rf"--recipe {name}: .*Did you mean '{nearest}"):
        resolve({}, [], Path(name))


def test_what_a_file_extends_is_a_file(tmp_path: Path) -> None:
    """A name of a shipped recipe there would hide that a file is missing."""
    (tmp_path / "mine.yaml").write_text("extends: default\n")
    with pytest.raises(PeftCorrError, match="there is no such file"):
        resolve({}, [], tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("name", "strategy", "options"),
    [
        ("frozen", "frozen", {}),
        ("last-1", "last_k", {"k": 1}),
        ("last-2", "last_k", {"k": 2}),
        ("last-3", "last_k", {"k": 3}),
        ("lora", "lora", {}),
        ("adapter", "adapter", {}),
        ("adaptformer", "adaptformer", {}),
    ],
)
def test_the_published_experiments(name: str, strategy: str, options: dict[str, Any]) -> None:
    recipe = resolve({}, [], RECIPES / "spair71k" / f"{name}.yaml")
    assert recipe.backbone["name"] == "dinov2_vitb14"
    assert recipe.dataset["name"] == "spair71k"
    assert recipe.strategy["name"] == strategy
    assert options.items() <= recipe.strategy.items()
    assert {"name": "window_softargmax", "radius": 2, "temperature": 10.0} in recipe.predictors
