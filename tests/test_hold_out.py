"""A run that holds keypoints and a category out: no loss and no choice tells of them, and test is scored apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from peftcorr.cli import main
from peftcorr.metrics.generalisation import PARTS
from peftcorr.predictions import read_predictions
from peftcorr.results.record import Record
from tests.commanding import Commands

HELD = {"keypoints": ["bird/0", "bird/3"], "categories": ["car"]}
OPTION = f"dataset.hold_out={json.dumps(HELD)}"
TRAINING = (
    "training.steps=3", "training.images=4", "training.validate_every=2", "training.learning_rate=0.05",
    "training.search={learning_rates: [0.01, 0.05], steps: 2}",
)  # fmt: skip


def disturb(photographs: Path) -> None:
    """Move every annotation that is held out, in trn and val: what is left of the pairs stays."""
    moved = 0
    for path in sorted(photographs.glob("PairAnnotation/*/*.json")):
        pair = json.loads(path.read_text())
        if path.parent.name == "test":
            continue
        for place, name in enumerate(pair["kps_ids"]):
            if pair["category"] == "car" or name in ("0", "3"):
                moved += 1
                for side in ("src_kps", "trg_kps"):
                    pair[side][place] = [1.0 + moved % 7, 2.0 + moved % 5]
        if pair["category"] == "car":
            pair["trg_bndbox"] = [0, 0, 5 + moved % 20, 9]
        path.write_text(json.dumps(pair))
    assert moved > 50


def run(commands: Commands, *more: str) -> Record:
    before = set(commands.store.run_ids())
    assert commands.run("--strategy", "lora", *more, assignments=(*TRAINING, OPTION)) == 0
    [one] = set(commands.store.run_ids()) - before
    record = commands.store.read(one)
    assert record is not None
    return record


def tune(commands: Commands, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    given = ["--backbone", "small", "--weights", str(commands.weights), "--dataset", "pairs"]
    given += ["--data-root", str(commands.photographs), "--output", str(commands.output)]
    assert main(["tune-predictor", *given, "--radius", "1", "2", "--temperature", "10", "50", *more]) == 0
    capsys.readouterr()
    [path] = (commands.output / "predictors").glob("*.json")
    choice: dict[str, Any] = json.loads(path.read_text())
    return choice


def test_nothing_that_is_held_out_reaches_a_loss_a_validation_a_search_or_a_tuned_predictor(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every annotation that is held out at another place, all of training and selection is the same to the bit."""
    monkeypatch.setenv("PEFTCORR_CACHE", str(commands.folder / "cache"))
    found = []
    for output in ("one", "other"):
        commands.output = commands.folder / output
        record = run(commands)
        adapter = load_file(commands.store.adapter_path(record.run_id))
        choice = tune(commands, capsys, "--set", OPTION)
        found.append((record, adapter, choice["pck"], choice["predictor"], choice["n_keypoints"]))
        disturb(commands.photographs)
    (one, first, *chosen), (other, second, *tuned) = found
    assert one.run_id == other.run_id, "what is held out does not even name the run"
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    assert [(p.step, p.pck, p.loss) for p in one.validation] == [
        (p.step, p.pck, p.loss) for p in other.validation
    ]
    rates = [[(p.learning_rate, p.pck) for p in record.learning_rate_search] for record in (one, other)]
    assert rates[0] == rates[1]
    assert (one.best_step, one.learning_rate) == (other.best_step, other.learning_rate)
    assert chosen == tuned
    assert one.scores == other.scores
    assert one.generalisation == other.generalisation

    # A setting that was chosen with everything in sight is refused.
    tune(commands, capsys)
    assert commands.run("--strategy", "frozen", "--predictor", "tuned", assignments=(OPTION,)) == 2
    assert "was chosen without the recipe's dataset.hold_out" in " ".join(capsys.readouterr().err.split())


def test_test_is_scored_apart_wherever_scores_stand(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run("--strategy", "frozen", assignments=()) == 0
    plain = commands.record()
    assert "generalisation" not in plain.model_dump(mode="json")
    capsys.readouterr()
    assert commands.run("--strategy", "frozen", "lora", assignments=("training.steps=1", OPTION)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "unseen keypoints" in said or "unseen categories" in said, "in the terminal, as wide as it is"
    others = {record.strategy: record for record in commands.records() if record.run_id != plain.run_id}
    held, lora = others["frozen"], others["lora"]
    assert held.scores == plain.scores, "beside the ordinary scores"
    found = held.generalisation["photographs/test"]
    assert (found.keypoints, found.categories) == ({"bird": ["0", "3"]}, ["car"])
    rows = [
        row
        for row in read_predictions(commands.store.predictions_path(held.run_id)).to_pylist()
        if row["predictor"] == "argmax"
    ]
    counted = {part: [0, 0] for part in PARTS}
    for row in rows:
        bird = row["category"] == "bird"
        part = ("unseen_keypoints" if row["keypoint_id"] in "03" else "seen") if bird else "unseen_categories"
        counted[part][0] += 1
        far = (row["prediction_x"] - row["truth_x"]) ** 2 + (row["prediction_y"] - row["truth_y"]) ** 2
        counted[part][1] += far**0.5 <= 0.2 * row["reference_length"]
    for part, scores in found.scores["argmax"].items():
        number, right = counted[part]
        assert scores.n_keypoints == number > 0
        assert scores.per_keypoint["0.2"] == pytest.approx(100 * right / number, abs=1e-12)
        assert scores.intervals
        assert set(scores.intervals) >= {"per_keypoint", "per_image"}
    assert set(found.scores["argmax"]) == set(PARTS)
    assert sum(scores.n_keypoints for scores in found.scores["argmax"].values()) == len(rows)

    page = (commands.output / "README.md").read_text()
    title = (
        "photographs/test, small-weights, 32 px, photographs without keypoints bird/0, bird/3, category car"
    )
    assert title in page
    section = page[page.index("## Keypoints and categories that were held out") :]
    own = lora.generalisation["photographs/test"].scores["argmax"]
    row = next(line for line in section.splitlines() if line.startswith("| lora"))
    assert [f"{own[part].per_keypoint['0.1']:.2f} [" in row for part in PARTS] == [True] * 3
    assert "trained on photographs without keypoints bird/0, bird/3" in page
    header, *lines = (commands.output / "leaderboard.csv").read_text().splitlines()
    place = header.split(",").index("unseen_categories_per_image@0.2")
    [line] = [line for line in csv.reader(lines) if line[4].startswith("lora") and line[1] == "argmax"]
    assert float(line[place]) == pytest.approx(own["unseen_categories"].per_image["0.2"], rel=1e-5)

    capsys.readouterr()
    assert main(["breakdown", lora.run_id, "--output", str(commands.output)]) == 0
    written = (commands.output / "breakdowns" / f"{lora.run_id}.md").read_text()
    table = written[written.index("by what training saw") :]
    for part in PARTS:
        [first] = [
            line
            for line in table.split("\n\n")[1].splitlines()
            if line.startswith(f"| {part.replace('_', ' ')}")
        ]
        cells = [cell.strip() for cell in first.split("|")]
        assert cells[3] == str(own[part].n_keypoints)
        assert cells[5].startswith(f"{own[part].per_keypoint['0.1']:.2f}")


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (("dataset.hold_out={keypoints: [9]}",), "has no keypoint '9'"),
        (("dataset.hold_out={keypoints: 2}",), "hold_out.keypoints"),
        (("eval_on=[{name: pf_willow, hold_out: {keypoints: 0.3}}]",), "put it under dataset"),
    ],
)
def test_a_wrong_option_is_said_before_anything_runs(
    commands: Commands, capsys: pytest.CaptureFixture[str], assignments: tuple[str, ...], said: str
) -> None:
    assert commands.run("--strategy", "frozen", assignments=assignments) == 2
    assert said in " ".join(capsys.readouterr().err.split())
