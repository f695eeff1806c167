"""One run from recipe to record."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from peftcorr.engine.evaluate import Evaluator
from peftcorr.features.encode import Encoder
from peftcorr.matching.predictors import Argmax
from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.further import add_further
from peftcorr.metrics.presets import PRESETS
from peftcorr.predictions import read_predictions
from tests.commanding import QUICK, Commands, scores
from tests.engine.building import SILENT, assert_equal, load_split
from tests.small_folder import write_folder
from tests.small_models import Small, images
from tests.strategies.adapting import adapt


def test_a_frozen_run_leaves_a_whole_record(commands: Commands) -> None:
    assert commands.run("--strategy", "frozen") == 0
    record = commands.record()
    assert (record.status, record.error) == ("ok", None)
    assert (record.strategy, record.backbone, record.dataset) == ("frozen", "small", "photographs")
    assert (record.trainable_parameters, record.adapter_bytes) == (0, 0)
    assert record.total_parameters == adapt(commands.weights, "frozen")[0].total_parameters()
    assert record.weights_id == "small-weights"
    assert len(str(record.weights_sha256)) == 64
    assert not record.official_weights
    assert (record.learning_rate, record.best_step, record.validation) == (None, None, [])
    assert record.cost is not None
    assert (record.cost.steps, record.cost.train_seconds, record.cost.encoder_forwards) == (0, 0, 8)
    assert record.cost.peak_memory_bytes > 0
    assert record.cost.peak_memory_by_process == [record.cost.peak_memory_bytes]
    assert record.environment is not None
    assert record.environment.devices == {"cpu": 1}
    assert record.environment is not None
    assert record.environment.processes == 1
    assert set(scores(record)) == {"photographs/test"}
    predictors = scores(record)["photographs/test"]
    assert set(predictors) == {"argmax", "window_softargmax(radius=2,temperature=10)"}
    pairs = (commands.photographs / "Layout" / "large" / "test.txt").read_text().splitlines()
    assert predictors["argmax"]["n_pairs"] == len(pairs)
    assert set(predictors["argmax"]["per_category"]) == {"bird", "car"}
    assert str(commands.folder) not in commands.store.record_path(record.run_id).read_text()


def test_prefixes_kept_in_full_change_nothing_and_halved_ones_little(commands: Commands) -> None:
    found = {}
    for kept in ("none", "fp32", "bf16"):
        steps = ["training.steps=6", "training.images=4", f"training.prefix_cache={kept}"]
        assert commands.run("--strategy", "last_k", assignments=steps) == 0
        [record] = [r for r in commands.records() if r.recipe["training"].get("prefix_cache", "fp32") == kept]
        found[kept] = load_file(commands.store.adapter_path(record.run_id))
    assert len(commands.records()) == 3
    differ = {"fp32": 0.0, "bf16": 0.0}
    for name, tensor in found["none"].items():
        for kept in differ:
            differ[kept] = max(differ[kept], float((found[kept][name] - tensor).abs().max()))
    assert differ["fp32"] < 1e-5 < differ["bf16"] < 0.1


def test_jitter_is_said_to_turn_kept_prefixes_off(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for jitter in (0, 0.4):
        steps = ["training.steps=4", "training.images=4", f"training.colour_jitter={jitter}"]
        capsys.readouterr()
        assert commands.run("--strategy", "last_k", assignments=steps) == 0
        assert ("the frozen blocks' output is not kept" in capsys.readouterr().out) == bool(jitter)
        [record] = [r for r in commands.records() if r.recipe["training"].get("colour_jitter", 0) == jitter]
        found.append(load_file(commands.store.adapter_path(record.run_id)))
    # Rounding alone, of prefixes that are not kept, stays far below this.
    assert max(float((found[0][name] - found[1][name]).abs().max()) for name in found[0]) > 1e-4


def test_an_encoder_scored_in_bf16_has_a_record_of_its_own(commands: Commands) -> None:
    for precision in ("fp32", "bf16"):
        assert commands.run("--strategy", "frozen", assignments=[f"score_precision={precision}"]) == 0
    full, rounded = sorted(commands.records(), key=lambda record: "score_precision" in record.recipe)
    assert rounded.recipe["score_precision"] == "bf16"
    xs = [
        np.array(read_predictions(commands.store.predictions_path(record.run_id))["prediction_x"])
        for record in (full, rounded)
    ]
    apart = np.abs(xs[0] - xs[1])
    assert apart.max() > 0
    assert np.median(apart) < 1, "only a peak between two equals may jump"


def test_the_score_follows_from_the_predictions_alone(commands: Commands) -> None:
    assert commands.run("--strategy", "frozen", "--alphas", "0.05", "0.3") == 0
    record = commands.record()
    predictions = read_predictions(commands.store.predictions_path(record.run_id))
    again = score_predictions(predictions, [0.05, 0.3])
    add_further(again, predictions, [0.05, 0.3])
    assert again == record.scores
    low, high = (record.scores["photographs/test"]["argmax"].intervals or {})["per_image"]["0.3"]
    assert low < record.scores["photographs/test"]["argmax"].per_image["0.3"] < high


def test_a_run_scored_by_another_preset_keeps_its_definition(commands: Commands) -> None:
    for preset in ("peftcorr", "sd4match"):
        assert commands.run("--strategy", "frozen", assignments=[f"preset={preset}"]) == 0
    own, other = sorted(commands.records(), key=lambda record: "preset" in record.recipe)
    assert (own.protocol, other.protocol) == (PRESETS["peftcorr"], PRESETS["sd4match"])
    assert scores(own) != scores(other)
    table = read_predictions(commands.store.predictions_path(own.run_id))
    again = score_predictions(table, other.recipe["alphas"], PRESETS["sd4match"])
    add_further(again, table, other.recipe["alphas"], PRESETS["sd4match"])
    assert again == other.scores
    page = (commands.output / "README.md").read_text(encoding="utf-8")
    assert "## photographs/test, preset sd4match" in page


def test_a_convention_a_flip_and_the_other_way_round(commands: Commands) -> None:
    runs: dict[str, Any] = dict.fromkeys(("convention=geoaware", "flip=adaptive", "preset=cats"))
    for setting in runs:
        before = {record.run_id for record in commands.records()}
        assert commands.run("--strategy", "frozen", assignments=[setting, "predictors=argmax"]) == 0
        [runs[setting]] = [record for record in commands.records() if record.run_id not in before]
    fed, flipped, turned = runs.values()
    assert fed.protocol == PRESETS["geoaware"]
    assert flipped.cost.encoder_forwards == 2 * turned.cost.encoder_forwards  # every image is a source
    table = read_predictions(commands.store.predictions_path(turned.run_id))
    assert set(table.column("backwards").to_pylist()) == {True}
    assert score_predictions(table, [0.1], PRESETS["cats"])
    page = (commands.output / "README.md").read_text(encoding="utf-8")
    assert "## photographs/test, convention geoaware" in page
    assert "## photographs/test, preset cats" in page
    assert "PCK†@0.1" in page


def test_a_saved_adapter_gives_the_predictions_of_its_record(commands: Commands, tmp_path: Path) -> None:
    assert commands.run("--strategy", "lora", assignments=["training.steps=6", "training.images=4"]) == 0
    record = commands.record()
    path = commands.store.adapter_path(record.run_id)
    assert record.adapter_bytes == path.stat().st_size
    assert record.trainable_parameters == 4 * 8 * 32 * 3
    assert record.learning_rate == 3e-3
    assert record.cost is not None
    assert record.cost.steps == 6
    assert record.cost.train_seconds > 0
    backbone, strategy = adapt(commands.weights, "lora", seed=9)
    strategy.load_state_dict(backbone, load_file(path))
    split = load_split(commands.photographs, tmp_path, "test")
    found = (
        Evaluator(Encoder(backbone), Accelerator(cpu=True), 16, SILENT)
        .predict(split, [Argmax(Argmax.Config())])
        .points[0]
    )
    table = read_predictions(commands.store.predictions_path(record.run_id)).to_pylist()
    kept = [[r["prediction_x"], r["prediction_y"]] for r in table if r["predictor"] == "argmax"]
    torch.testing.assert_close(torch.from_numpy(found), torch.tensor(kept, dtype=torch.float64))


@pytest.mark.parametrize("strategy", ["lora", "adalora", "vera"])
def test_methods_of_peft_leave_a_folder_that_peft_reads(commands: Commands, strategy: str) -> None:
    short = {"adalora": ["strategy.options={init_r: 4, target_r: 1}"], "vera": ["strategy.options={r: 8}"]}
    assert commands.run("--strategy", strategy, assignments=[*QUICK, *short.get(strategy, [])]) == 0
    record = commands.record()
    made = [path for path in commands.output.rglob("*") if "state" not in path.parts]
    assert [path for path in made if path.stat().st_mode & 0o044 != 0o044] == [], "others may read it"
    folder = commands.store.peft_path(record.run_id)
    assert str(commands.folder) not in (folder / "adapter_config.json").read_text()
    section = {key: value for key, value in record.recipe["strategy"].items() if key != "name"}
    backbone, own = adapt(commands.weights, strategy, seed=9, **section)
    own.load_state_dict(backbone, load_file(commands.store.adapter_path(record.run_id)))
    plain = Small.architecture()[0].from_pretrained(commands.weights, attn_implementation="sdpa").eval()
    adapted = peft.PeftModel.from_pretrained(plain, folder).eval()
    assert adapted.peft_config["default"].base_model_name_or_path == "small-weights"
    with torch.no_grad():
        tokens = adapted(pixel_values=images()).last_hidden_state[:, 1:]
        assert torch.equal(tokens.transpose(1, 2).reshape(2, 32, 4, 4), backbone.features(images()))


@pytest.mark.parametrize("strategy", ["frozen", "adapter"])
def test_methods_that_are_not_pefts_leave_no_such_folder(commands: Commands, strategy: str) -> None:
    assert commands.run("--strategy", strategy) == 0
    assert not commands.store.peft_path(commands.record().run_id).exists()


def test_the_same_recipe_gives_the_same_numbers(commands: Commands) -> None:
    found = []
    for name in ("one", "two"):
        commands.output = commands.folder / name
        assert commands.run("--strategy", "adaptformer") == 0
        record = commands.record()
        found.append((record.run_id, scores(record), load_file(commands.store.adapter_path(record.run_id))))
    assert found[0][:2] == found[1][:2]
    assert_equal(found[1][2], found[0][2])


def test_another_seed_is_another_run(commands: Commands) -> None:
    assert commands.run("--strategy", "lora", "--seed", "0", "1") == 0
    one, other = commands.records()
    assert {one.seed, other.seed} == {0, 1}
    adapters = [load_file(commands.store.adapter_path(record.run_id)) for record in (one, other)]
    assert any(not torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])


def test_a_trained_model_is_scored_on_more_datasets(commands: Commands) -> None:
    """The second is the first with other photographs; the model is trained once, on the first alone."""
    other = write_folder(commands.folder / "SPair-71k", images=3, seed=5)
    roots = ("--data-root", f"pairs={commands.photographs}", f"spair71k={other}")
    assert commands.run("--strategy", "lora", "--eval-on", "spair71k", *roots) == 0
    record = commands.record()
    assert record.dataset == "photographs"
    assert set(scores(record)) == {"photographs/test", "spair71k/test"}
    assert record.cost is not None
    assert record.cost.encoder_forwards == 8 + 6
    assert read_predictions(commands.store.predictions_path(record.run_id)).column(
        "dataset"
    ).unique().to_pylist() == ["photographs", "spair71k"]


def test_limited_pairs_are_another_run(commands: Commands) -> None:
    assert commands.run("--strategy", "frozen", "--limit-pairs", "3") == 0
    [by_name] = scores(commands.record()).values()
    assert by_name["argmax"]["n_pairs"] == 3
    assert commands.run("--strategy", "frozen") == 0
    assert len(commands.records()) == 2


def test_the_folders_place_is_no_part_of_the_run(commands: Commands) -> None:
    assert commands.run("--strategy", "frozen") == 0
    elsewhere = commands.folder / "elsewhere"
    shutil.copytree(commands.photographs, elsewhere / "photographs")
    shutil.copytree(commands.weights, elsewhere / commands.weights.name)
    commands.photographs, commands.weights = (
        elsewhere / "photographs",
        elsewhere / commands.weights.name,
    )
    assert commands.run("--strategy", "frozen", "--overwrite", "always") == 0
    assert commands.record().status == "ok"


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_trains_and_is_recorded(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """As ``accelerate launch --mixed_precision bf16`` says it to its processes."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    assert commands.run("--strategy", "lora") == 0
    record = commands.record()
    assert record.environment is not None
    assert record.environment.precision == record.recipe["precision"] == precision
    adapter = load_file(commands.store.adapter_path(record.run_id))
    assert all(tensor.any() for name, tensor in adapter.items() if "lora_B" in name)


def test_cells_of_several_precisions_in_one_process(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the device has not fails, with a record, and stops no other."""

    def without_fp16(mixed_precision: str) -> Accelerator:
        if mixed_precision == "fp16":
            raise ValueError("fp16 requires another device")
        return Accelerator(mixed_precision=mixed_precision)

    monkeypatch.setattr("peftcorr.pipeline.Accelerator", without_fp16)
    own = {"strategy": "lora", "training": {"steps": 2, "images": 3}}
    ended = commands.swept(*({**own, "precision": precision} for precision in ("fp16", "no", "bf16")))
    assert [one.status for one in ended] == ["failed", "ran", "ran"]
    found = {record.recipe["precision"]: record for record in commands.records()}
    assert {name: record.status for name, record in found.items()} == {
        "no": "ok", "bf16": "ok", "fp16": "failed"
    }  # fmt: skip
    for name, record in found.items():
        assert record.environment is not None
        assert record.environment.precision == name
    assert "precision=fp16 is not to be had here (fp16 requires another device)" in str(found["fp16"].error)
    assert found["fp16"].retry
    adapters = [load_file(commands.store.adapter_path(found[name].run_id)) for name in ("no", "bf16")]
    assert any((adapters[0][name] != tensor).any() for name, tensor in adapters[1].items())
