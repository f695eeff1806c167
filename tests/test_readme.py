"""What README and docs/ print is true: commands, plugins and numbers."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.commanding import PROJECT, Commands

README = (PROJECT / "README.md").read_text(encoding="utf-8")
PLUGINS = (PROJECT / "docs" / "plugins.md").read_text(encoding="utf-8")
FINDINGS = (PROJECT / "docs" / "findings.md").read_text(encoding="utf-8")
RECORDS = Store(PROJECT / "leaderboard").records()
SMALL = (
    "dataset.categories=[car, chair]",
    "dataset.images={trn: 6, val: 3, test: 3}",
    "dataset.pairs={trn: 12, val: 6, test: 6}",
    "training.steps=4",
)


def printed_plugins(page: str) -> dict[str, str]:
    """Files that a page prints, by the name that it gives them."""
    return dict(re.findall(r'^```python title="(\w+\.py)"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL))


def printed_command(page: str, file: str) -> list[str]:
    """The words of the page's one command with that plugin, without the program's name."""
    [line] = re.findall(rf"^peftcorr (run --plugin {file}.*)$", page, re.MULTILINE)
    return shlex.split(line)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """With a cache that all of them share."""
    return Commands(tmp_path_factory.mktemp("readme"))


def run(commands: Commands, folder: Path, words: Sequence[str], small: Sequence[str]) -> list[Record]:
    """Run a printed command where its file lies, at a small size; its records."""
    done = commands.forked([*words, "--output", "out", "--set", *small], folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return Store(folder / "out").records()


def scored(records: Sequence[Record]) -> bool:
    """Whether every run has scores of all its predictors."""
    return all(len(scores) == len(r.recipe["predictors"]) for r in records for scores in r.scores.values())


def test_the_readme_is_short_and_its_commands_are_found() -> None:
    assert len(README.splitlines()) <= 130
    assert len(re.findall(r"^pip install .*accelerate launch.*$", README, re.MULTILINE)) == 1
    assert len(re.findall(r"^pip install .*pytest$", README, re.MULTILINE)) == 1


def test_the_readmes_plugin_runs_as_printed(commands: Commands, tmp_path: Path) -> None:
    [(file, code)] = printed_plugins(README).items()
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    (tmp_path / file).write_text(code, encoding="utf-8")
    records = run(commands, tmp_path, printed_command(README, file), SMALL)
    assert {record.strategy for record in records} == {"late_biases", "bitfit"}
    own = next(record for record in records if record.strategy == "late_biases")
    assert own.recipe["strategy"] == {"name": "late_biases", "blocks": 2}
    assert own.trainable_parameters == 2 * 11 * 192
    assert scored(records)


def test_the_readmes_plugin_combines_and_has_options(commands: Commands, tmp_path: Path) -> None:
    [(file, code)] = printed_plugins(README).items()
    (tmp_path / file).write_text(code, encoding="utf-8")
    words = ["run", "--plugin", file, "--strategy", "late_biases+lora"]
    [record] = run(commands, tmp_path, words, (*SMALL, "strategy.late_biases.blocks=3"))
    assert record.trainable_parameters == 3 * 11 * 192 + 36_864


def test_the_readmes_five_lines_run_as_printed(
    commands: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    photograph: Callable[..., Image.Image],
) -> None:
    """On the run of the first command, made on a part of its pairs."""
    [code] = re.findall(r"^## From Python\n\n```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len([line for line in code.splitlines() if line and not line.startswith("import")]) == 5
    [of_the_readme] = found(
        weights="tiny", dataset="synthetic", parameters=36_864, searched=False, seed=0, steps=160
    )
    assert f'peftcorr.load("runs/{of_the_readme.run_id[:4]}")' in code, "what the first command trains"
    [record] = run(commands, tmp_path, ["run", "--strategy", "lora"], SMALL)
    for seed, name in enumerate(("cat.jpg", "dog.jpg")):
        photograph(320, 200 + seed, seed).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").rename("runs")
    monkeypatch.setenv("PEFTCORR_CACHE", str(commands.folder / "cache"))
    names: dict[str, Any] = {}
    exec(code.replace(of_the_readme.run_id[:4], record.run_id[:4]), names)
    assert names["model"].record.run_id == record.run_id
    assert names["points"].shape == (2, 2)
    assert names["heat"].shape == (201, 320)
    assert np.isclose(names["heat"].max(), names["similarity"][0], atol=0.05)
    assert names["scores"] == record.scores
    assert set(names["table"]["run_ids"].sum()) == {record.run_id}


@pytest.mark.parametrize("file", ["convolutions.py", "top_cells.py"])
def test_a_plugin_of_the_docs_runs_as_printed(commands: Commands, tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text(printed_plugins(PLUGINS)[file], encoding="utf-8")
    records = run(commands, tmp_path, printed_command(PLUGINS, file), SMALL)
    assert scored(records)
    if file == "convolutions.py":
        assert {record.backbone for record in records} == {"convolutions"}
        trained = next(record for record in records if record.strategy == "last_k")
        assert trained.trainable_parameters == 64 * (32 * 9 + 1)
    else:
        assert {section["name"] for section in records[0].recipe["predictors"]} == {"argmax", "top_cells"}


def test_the_dataset_of_the_docs_runs_as_printed(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(printed_plugins(PLUGINS)["lines.py"], encoding="utf-8")
    folder = tmp_path / "birds"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(
            folder / name
        )
    points = [[10.0, 20.0], [60.0, 50.0]]
    pair = {"category": "bird", "source": "a.png", "target": "b.png"}
    line = json.dumps(pair | {"source_points": points, "target_points": points})
    (folder / "test.jsonl").write_text(line + "\n", encoding="utf-8")
    words = [word.replace("FOLDER", str(folder)) for word in printed_command(PLUGINS, "lines.py")]
    [record] = run(commands, tmp_path, words, ["alphas=[0.2]"])
    assert record.dataset == "birds"
    [scores] = [by_predictor["argmax"] for by_predictor in record.scores.values()]
    assert (scores.n_pairs, scores.n_keypoints) == (1, 2)
    assert scores.per_keypoint["0.2"] == 100  # both pictures are the same noise


# Numbers are those of the committed records


def rows(page: str, after: str) -> list[list[str]]:
    """Cells of the first table after that text, without its head."""
    lines = page[page.index(after) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| ---"))
    table = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def found(**wanted: object) -> list[Record]:
    """The committed records of a weights' name, training set, steps and number of trained parameters."""
    return [
        record
        for record in RECORDS
        if all(
            wanted[key] == value
            for key, value in {
                "weights": record.weights_id,
                "dataset": record.dataset,
                "steps": record.recipe["training"]["steps"],
                "parameters": record.trainable_parameters,
                "searched": record.recipe["training"]["search"] is not None,
                "seed": record.seed,
            }.items()
            if key in wanted
        )
    ]


def pck(record: Record, dataset: str, predictor: str, alpha: str = "0.1") -> str:
    by_predictor = record.scores[f"{dataset}/test"]
    [scores] = [scores for name, scores in by_predictor.items() if name.startswith(predictor)]
    return f"{scores.per_keypoint[alpha]:.2f}"


def test_the_readmes_five_rows_are_those_of_the_records() -> None:
    table = rows(README, "## What it measures")
    assert [row[0] for row in table] == ["`frozen`", "`last_k`", "`lora`", "`adapter`", "`adaptformer`"]
    for _, parameters, *scores, _ in table:
        number = int(parameters.replace(",", ""))
        candidates = found(weights="tiny", dataset="synthetic", parameters=number, searched=False, seed=0)
        printed = [[pck(r, "synthetic", "argmax", a) for a in ("0.05", "0.1", "0.2")] for r in candidates]
        assert scores in printed, parameters


def test_the_fourteen_strategies_are_those_of_the_records() -> None:
    table = rows(FINDINGS, "## Fourteen strategies")
    assert len(table) == 14
    for name, parameters, own, window, willow, rate in table:
        number = int(parameters.replace(",", ""))
        steps = 0 if name == "`frozen`" else 400
        candidates = found(weights="dinov2-small-saliency", steps=steps, parameters=number)
        printed = [
            (
                pck(record, "animal-pairs", "argmax"),
                pck(record, "animal-pairs", "window_softargmax"),
                pck(record, "pf_willow", "argmax"),
                record.learning_rate,
            )
            for record in candidates
            if record.dataset == "animal-pairs"
        ]
        assert (own, window, willow, None if rate == "-" else float(rate)) in printed, name


def test_the_grid_is_that_of_the_records() -> None:
    sizes = {"`lora`": [442_368], "`adapter`": [793_600], "`adaptformer`": [396_800]}
    sizes |= {"`frozen`": [0], "last 1, 2, 3": [1_776_000, 3_551_232, 5_326_464]}
    for name, trained_on, *columns in rows(FINDINGS, "## The grid"):
        dataset = "synthetic" if trained_on == "-" else trained_on
        for test, cell in zip(("animal-pairs", "pf_willow", "pf_pascal", "synthetic"), columns, strict=True):
            means = []
            for parameters in sizes[name]:
                runs = found(
                    weights="dinov2-small-saliency",
                    dataset=dataset,
                    steps=0 if parameters == 0 else 160,
                    parameters=parameters,
                )
                assert len(runs) == (1 if parameters == 0 else 2)
                scores = [next(iter(run.scores[f"{test}/test"].values())).per_keypoint["0.1"] for run in runs]
                means.append(f"{np.mean(scores):.2f}")
            assert cell == ", ".join(means), (name, trained_on, test)
