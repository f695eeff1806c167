"""``benchmarks/window.py`` on a small backbone and its LoRA run: every figure scored anew, one setting at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from peftcorr.backbones import Backbone
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.features.encode import Encoder
from peftcorr.matching.predictors import Argmax, Predictor, WindowSoftargmax
from peftcorr.model.finished import load_finished
from tests.commanding import Commands
from tests.engine.building import SILENT, load_split
from tests.scripts import script as load_script
from tests.small_folder import write_folder
from tests.small_models import Small, build, save_weights

PROJECT = Path(__file__).resolve().parents[2]
RADII, TEMPERATURES = (0, 1, 2), (5.0, 40.0)
SETTINGS = [(0, 5.0), (1, 5.0), (1, 40.0), (2, 5.0), (2, 40.0)]
DECIDES = "0.2"  # random features are hardly ever right at a stricter one
RECIPE = "strategy: {name: frozen}\nbackbone: {name: small}\ndataset: {name: pairs}\n"


@pytest.fixture(scope="module")
def window() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PROJECT / "benchmarks"))
        yield load_script("window")


@pytest.fixture(autouse=True)
def small(window: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared folder, the recipe and the grid, all small."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    (tmp_path / "frozen.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.setenv("PEFTCORR_SHARED", str(tmp_path / "shared"))
    monkeypatch.setattr(window, "RECIPE", tmp_path / "frozen.yaml")
    monkeypatch.setattr(window, "RADII", RADII)
    monkeypatch.setattr(window, "TEMPERATURES", TEMPERATURES)
    monkeypatch.setattr(window, "ALPHA", float(DECIDES))


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    made = Commands(tmp_path)
    made.photographs = write_folder(tmp_path / "shared" / "data" / "animal-pairs")
    made.weights = save_weights(Small, tmp_path / "shared" / "weights" / "dinov2-small-saliency")
    return made


def right(backbone: Backbone, split: Split, predictor: Predictor) -> dict[str, np.ndarray]:
    """Which keypoints one predictor alone finds, by threshold."""
    [found] = (
        Evaluator(Encoder(backbone), Accelerator(cpu=True), 16, SILENT).predict(split, [predictor]).points
    )
    off = np.linalg.norm(np.asarray(found) - split.data.target_points, axis=1)
    lengths = split.data.reference_length[split.data.pair]
    return {f"{alpha:g}": off <= alpha * lengths for alpha in (0.05, 0.1, 0.2)}


def setting(radius: int, temperature: float) -> WindowSoftargmax:
    return WindowSoftargmax(WindowSoftargmax.Config(radius=radius, temperature=temperature))


def percent(flags: dict[str, np.ndarray]) -> dict[str, float]:
    return {alpha: 100 * float(values.mean()) for alpha, values in flags.items()}


def unlike_val(backbone: Backbone, root: Path, cache: Path) -> tuple[tuple[int, float], tuple[int, float]]:
    """Leave in test what another setting than val's best finds more of; returns val's best and the other one."""
    split = load_split(root, cache, "val")
    hits = {one: right(backbone, split, setting(*one))[DECIDES] for one in SETTINGS}
    best = max(SETTINGS, key=lambda one: hits[one].mean())
    names = split.dataset.table["pair_id"]
    for other in SETTINGS:
        gain = np.bincount(split.data.pair, hits[other].astype(float) - hits[best], len(split.dataset))
        if (gain > 0).any():
            kept = [name for name, better in zip(names, gain > 0, strict=True) if better]
            listed = root / "Layout" / "large" / "test.txt"
            listed.write_text("".join(f"{name}\n" for name in kept), encoding="utf-8")
            return best, other
    raise AssertionError("no pair tells another setting from the best: change the seed of the folder")


def table_row(page: str, first: str) -> list[str]:
    """Cells of the only row of a page that begins so."""
    [line] = [line for line in page.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def test_figures_are_those_of_each_setting_alone_and_val_alone_chooses(
    window: ModuleType, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands.run("--strategy", "lora") == 0
    record = commands.record()
    backbones: dict[str, Backbone] = {
        "frozen": build(Small, commands.weights),
        "lora": load_finished(record, commands.store, commands.weights).backbone,
    }
    best, other = unlike_val(backbones["frozen"], commands.photographs, tmp_path / "cache-1")
    loaded: list[str] = []
    load = SpairFolder.load
    monkeypatch.setattr(SpairFolder, "load", lambda self, split: loaded.append(split) or load(self, split))
    given = ["--run", record.run_id, "--output", str(commands.output), "--page", str(tmp_path / "page")]
    assert window.main(given) == 0
    assert loaded == ["val", "test"] * 2
    monkeypatch.undo()

    content: dict[str, Any] = json.loads((tmp_path / "page" / "window.json").read_text(encoding="utf-8"))
    page = (tmp_path / "page" / "window.md").read_text(encoding="utf-8")
    assert list(content["models"]) == ["frozen", "lora"]
    val = load_split(commands.photographs, tmp_path / "cache-2", "val")
    test = load_split(commands.photographs, tmp_path / "cache-2", "test")
    assert 0 < len(test.dataset) < len(val.dataset)
    on_val = {}
    for name, model in content["models"].items():
        backbone = backbones[name]
        on_val[name] = {one: percent(right(backbone, val, setting(*one))) for one in SETTINGS}
        windows = {(one["radius"], one["temperature"]): one["pck"] for one in model["val"]["windows"]}
        assert list(windows) == SETTINGS
        for one, pck in windows.items():
            assert pck == pytest.approx(on_val[name][one], abs=1e-9)
        argmax = Argmax(Argmax.Config())
        assert model["val"]["others"]["argmax"] == pytest.approx(
            percent(right(backbone, val, argmax)), abs=1e-9
        )
        chosen = (model["chosen"]["radius"], model["chosen"]["temperature"])
        assert chosen == max(SETTINGS, key=lambda one: on_val[name][one][DECIDES])
        assert model["test"]["argmax"] == pytest.approx(percent(right(backbone, test, argmax)), abs=1e-9)
        found = percent(right(backbone, test, setting(*chosen)))
        assert model["test"]["chosen"] == pytest.approx(found, abs=1e-9)
        for split, of in ((val, "val"), (test, "test")):
            assert (model[of]["n_pairs"], model[of]["n_keypoints"]) == (len(split.dataset), len(split.data))

        part = page[page.index(f"## {name}, ") :].partition("\n## ")[0]
        tuned, tested = part.split("On test (")
        assert table_row(tested, "argmax") == [f"{v:.2f}" for v in model["test"]["argmax"].values()]
        marked = f"r = {chosen[0]}, τ = {chosen[1]:g}"
        assert table_row(tested, marked) == [f"{v:.2f}" for v in found.values()]
        gain = found[DECIDES] - model["test"]["argmax"][DECIDES]
        assert table_row(tested, "difference")[2] == f"{gain:+.2f}"
        verdict = "improves" if gain > 0 else "does not improve"
        assert f"chosen on val {verdict} test PCK@{DECIDES}: {gain:+.2f} points." in tested
        for radius in RADII[1:]:
            top = max((one for one in SETTINGS if one[0] == radius), key=lambda one: windows[one][DECIDES])
            bold = "**" if top == chosen else ""
            shown = table_row(tuned, f"{bold}r = {radius}, τ = {top[1]:g}{bold}")
            assert shown == [f"{v:.2f}" for v in on_val[name][top].values()]
    assert on_val["frozen"] != on_val["lora"], "the adapter made no difference"
    frozen = content["models"]["frozen"]
    assert (frozen["chosen"]["radius"], frozen["chosen"]["temperature"]) == best
    on_test = percent(right(backbones["frozen"], test, setting(*other)))
    assert on_test[DECIDES] > frozen["test"]["chosen"][DECIDES], "test would not have chosen otherwise"
    figure = (tmp_path / "page" / "figures" / "window.svg").read_text(encoding="utf-8")
    assert figure.startswith("<?xml")


def test_what_is_missing_is_one_sentence(
    window: ModuleType, commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    given = ["--run", "0" * 16, "--output", str(commands.output), "--page", str(tmp_path / "page")]
    assert window.main(given) == 2
    assert "There is no finished run 0000000000000000" in capsys.readouterr().err
    monkeypatch.setenv("PEFTCORR_SHARED", str(tmp_path / "elsewhere"))
    assert window.main(given) == 2
    assert "has data/animal-pairs and the weights" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()
