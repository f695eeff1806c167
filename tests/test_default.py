"""The embedded default, smaller: no flag, no data, no network; one line to a leaderboard."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState

import peftcorr
from peftcorr.backbones import BACKBONES
from peftcorr.cli import main
from peftcorr.predictions import read_predictions
from peftcorr.results.record import Record
from peftcorr.results.store import Store

SMALLER = (
    "dataset.categories=[car, chair]",
    "dataset.images={trn: 6, val: 3, test: 3}",
    "dataset.pairs={trn: 12, val: 6, test: 6}",
)


@pytest.fixture(autouse=True, scope="module")
def _fresh() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


class Default:
    """The output folder of a frozen and a LoRA run, and the command that made it."""

    def __init__(self, folder: Path):
        self.output = folder / "out"
        self.command = ["run", "--strategy", "frozen", "lora", "--steps", "4", "--output", str(self.output)]
        self.command += ["--set", *SMALLER]

    def record(self, strategy: str) -> Record:
        records = {record.strategy: record for record in Store(self.output).records()}
        assert {record.status for record in records.values()} == {"ok"}
        return records[strategy]


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory, _fresh: None) -> Iterator[Default]:
    found = Default(tmp_path_factory.mktemp("default"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEFTCORR_CACHE", str(found.output.parent / "cache"))
        patch.setattr("peftcorr.machine.launch.use_all_cores", lambda: torch.set_num_threads(1))
        assert main(found.command) == 0
        yield found


def test_from_nothing_to_a_leaderboard(default: Default, capsys: pytest.CaptureFixture[str]) -> None:
    lora = default.record("lora")
    assert (lora.backbone, lora.official_weights) == ("tiny", True)
    assert lora.dataset.startswith("synthetic-"), "a smaller benchmark is another benchmark, and is named so"
    weights = BACKBONES.get("tiny").embedded_weights()
    assert weights is not None
    assert lora.weights_sha256 == weights.sha256
    assert lora.trainable_parameters == 4 * 8 * 192 * 6
    [by_predictor] = lora.scores.values()
    assert set(by_predictor["argmax"].per_category) == {"car", "chair"}
    assert "lora" in (default.output / "README.md").read_text(encoding="utf-8")
    assert main(default.command) == 0
    assert capsys.readouterr().out.count("done before, nothing to do") == 2


def test_the_library_matches_and_scores_as_the_run_did(default: Default) -> None:
    record = default.record("lora")
    model = peftcorr.load(default.output / record.run_id[:6], device="cpu")
    rows = read_predictions(Store(default.output).predictions_path(record.run_id)).to_pylist()
    own = [row for row in rows if row["predictor"] == "argmax"]
    root = model.bench.source(model.recipe.dataset).load("test").image_root
    assert len(own) == 78
    for _, pair in itertools.groupby(own, key=lambda row: row["pair_id"]):
        found = list(pair)
        points, similarity = model.match(
            root / found[0]["source_image"],
            root / found[0]["target_image"],
            [[row["source_x"], row["source_y"]] for row in found],
        )
        np.testing.assert_array_equal(points, [[row["prediction_x"], row["prediction_y"]] for row in found])
        np.testing.assert_allclose(similarity, [row["similarity"] for row in found], atol=1e-6)
    assert peftcorr.evaluate(model) == record.scores


def test_train_gives_the_record_that_the_command_left(default: Default) -> None:
    overrides = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in SMALLER)}
    before = default.record("lora")
    again = peftcorr.train(
        overrides={**overrides, "training.steps": 4}, output=default.output, progress=False
    )
    assert again == before, "done is not done again"
    rows = peftcorr.leaderboard(default.output).rows
    assert {row["strategy"] for row in rows} == {"frozen", "lora"}
    frame = peftcorr.leaderboard(default.output).to_pandas()
    lora = frame[(frame["strategy"] == "lora") & (frame["predictor"] == "argmax")].iloc[0]
    [by_predictor] = before.scores.values()
    assert lora["per_keypoint@0.1"] == by_predictor["argmax"].per_keypoint["0.1"]
    assert lora["trainable_parameters"] == before.trainable_parameters
    assert lora["run_ids"] == [before.run_id]
