"""The grid of the leaderboard: its recipes, its cells and what is left of them; nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from accelerate.state import AcceleratorState, GradientState

from peftcorr.cli import main
from peftcorr.commands import plan
from peftcorr.data.synthetic.scene import Variety, View, render_view
from peftcorr.engine.plan import Plan
from peftcorr.recipe import Recipe, resolve
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.conftest import SpairMaker
from tests.published_layouts import write_pf_pascal
from tests.scripts import script as load_script

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = PROJECT / "recipes" / "leaderboard"


@pytest.fixture(scope="module")
def grid() -> ModuleType:
    return load_script("grid")


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def roots(
    spair: SpairMaker,
    willow_root: Path,
    tmp_path: Path,
    cache_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Folders of the data sets; the embedded one has its whole size, and blank pictures of one view a category."""

    @cache
    def blank(category: str, variety: Variety) -> View:
        view = render_view(category, 0, 0, variety=variety)
        return replace(view, image=np.zeros_like(view.image))

    def drawn(category: str, object_seed: int, view_seed: int, variety: Variety) -> View:
        return blank(category, variety)

    monkeypatch.setattr(import_module("peftcorr.data.synthetic.generate"), "render_view", drawn)
    monkeypatch.setenv("PEFTCORR_CACHE", str(cache_folder))
    monkeypatch.setenv("COLUMNS", "220")
    pascal = write_pf_pascal(tmp_path / "pf-pascal")
    return ["--data-root", f"pairs={spair.write()}", f"pf_willow={willow_root}", f"pf_pascal={pascal}"]


def shipped(backbone: str) -> dict[str, Recipe]:
    paths = [path for path in (RECIPES / backbone).glob("*.yaml") if path.name != "base.yaml"]
    return {path.stem: resolve({}, [], path) for path in sorted(paths)}


@pytest.mark.parametrize(("backbone", "steps"), [("tiny", 160), ("dinov2_vits14", 160)])
def test_recipes_differ_in_the_strategy_alone(grid: ModuleType, backbone: str, steps: int) -> None:
    recipes = shipped(backbone)
    assert set(recipes) == set(grid.STRATEGIES)
    [rest] = {recipe.model_dump_json(exclude={"strategy"}) for recipe in recipes.values()}
    assert rest
    training = recipes["lora"].training
    assert training.steps == steps
    assert training.search is not None
    assert 5 * training.search.steps == steps
    assert len(training.search.learning_rates) == 4
    assert recipes["lora"].backbone["name"] == backbone
    assert [recipes[f"last-{k}"].strategy["k"] for k in (1, 2, 3)] == [1, 2, 3]


def test_the_first_line_of_each_recipe_is_what_the_grid_runs(grid: ModuleType) -> None:
    for backbone, seeds in grid.SEEDS.items():
        for strategy in grid.STRATEGIES:
            own = [b for b in grid.batches([backbone]) if b.recipe.stem == strategy]
            said = own[0].recipe.read_text(encoding="utf-8").splitlines()[0]
            assert (
                f"--dataset {' '.join(own[0].datasets)} --seed {' '.join(str(b.seed) for b in own)} " in said
            )
            assert ("--weights" in said) == (backbone in grid.EXTERNAL_WEIGHTS)
            assert [b.seed for b in own] == list(seeds[:1] if strategy == "frozen" else seeds)


def test_the_grid_compares_all_strategies_before_the_next_seed(grid: ModuleType) -> None:
    order = [(b.backbone, b.seed) for b in grid.batches(list(grid.SEEDS))]
    assert order == sorted(order, key=lambda one: (list(grid.SEEDS).index(one[0]), one[1]))
    assert sum(len(b.datasets) for b in grid.batches(list(grid.SEEDS))) == 62
    assert {b.seed for b in grid.batches(["tiny"], [1])} == {1}


def test_what_is_left_is_listed(
    grid: ModuleType, roots: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    given = ["--backbone", "tiny", "--seed", "0", *roots, "--output", str(output), "--left"]
    assert grid.main(given) == 0
    *cells, total = capsys.readouterr().out.splitlines()
    assert total == "13 of 13 cells are left."
    assert len({line.split()[0] for line in cells}) == 13
    assert sum("synthetic" in line for line in cells) == 7
    done, failed = (line.split()[0] for line in cells[1:3])
    _leave(Store(output), done, "ok")
    _leave(Store(output), failed, "failed")
    assert grid.main(given) == 0
    out = capsys.readouterr().out
    assert done not in out
    assert f"{failed}  failed before" in out
    assert out.splitlines()[-1] == "12 of 13 cells are left."
    assert not (output / "README.md").exists()


def _leave(store: Store, run_id: str, status: str) -> None:
    store.record_path(run_id).parent.mkdir(parents=True, exist_ok=True)
    record = {
        "schema_version": 1, "run_id": run_id, "status": status, "recipe": {}, "strategy": "x", "backbone": "tiny",
        "weights_id": "tiny",
        "weights_sha256": None, "official_weights": True, "dataset": "synthetic", "seed": 0,
    }  # fmt: skip
    store.write(Record.model_validate(record))
    store.predictions_path(run_id).parent.mkdir(exist_ok=True)
    store.predictions_path(run_id).touch()


def test_a_missing_folder_is_said(
    grid: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grid.main(["--backbone", "tiny", "--left", "--output", str(tmp_path)]) == 2
    assert "needs its folder" in capsys.readouterr().err


def test_a_dry_run_prints_the_cells_and_no_set_is_scored_twice(
    roots: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    planned: list[Plan] = []
    plain = plan.print_plan
    monkeypatch.setattr(plan, "print_plan", lambda plans, out: (planned.extend(plans), plain(plans, out)))
    recipe = [
        "--recipe",
        str(RECIPES / "tiny" / "last-1.yaml"),
        "--dataset",
        "synthetic",
        "pairs",
        "--seed",
        "0",
    ]
    assert main(["run", *recipe, *roots, "--output", str(tmp_path / "out"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "last_k on tiny, synthetic, seed 0" in out
    assert "last_k on tiny, farm, seed 0" in out
    assert [[s["name"] for s in (cell.recipe.dataset, *cell.recipe.eval_on)] for cell in planned] == [
        ["synthetic", "pairs", "pf_willow", "pf_pascal"],
        ["pairs", "synthetic", "pf_willow", "pf_pascal"],
    ]


def test_the_grid_goes_on_after_a_failed_cell_and_stops_at_a_mistake(
    grid: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    codes = iter((1, 0, 2))

    def call(command: list[str]) -> int:
        commands.append(command)
        return next(codes)

    monkeypatch.setattr(grid.subprocess, "call", call)
    given = ["--backbone", "tiny", "dinov2_vits14", "--seed", "0", "--weights", "W", "--overwrite", "failed"]
    assert grid.main(given) == 2
    assert len(commands) == 3
    assert all(command[-2:] == ["--overwrite", "failed"] for command in commands)
    assert not any("--weights" in command for command in commands)
    codes = iter([1] + [0] * 13)
    commands.clear()
    assert grid.main(given) == 1
    assert [("--weights" in command) for command in commands] == [False] * 7 + [True] * 7
