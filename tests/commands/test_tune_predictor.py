"""``peftcorr tune-predictor``: every candidate scored on val in one pass, the choice kept, and used by later runs."""

from __future__ import annotations

import json

import pytest
from accelerate import Accelerator

from peftcorr.cli import main
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.engine.evaluate import Evaluator
from peftcorr.engine.tuning import Setting, Tuning, grid
from peftcorr.errors import PeftCorrError
from peftcorr.features.encode import Encoder
from peftcorr.files import read_json, write_json
from peftcorr.matching.predictors import WindowSoftargmax
from peftcorr.metrics.aggregate import aggregate
from peftcorr.results.choice import PredictorChoice
from tests.commanding import Commands
from tests.engine.building import SILENT, load_split
from tests.small_models import Small, build

GRID = ("--radius", "0", "1", "2", "--temperature", "5", "40")


def tune(commands: Commands, *more: str) -> int:
    given = " ".join(more)
    arguments = ["tune-predictor", *more]
    for flag, value in (
        ("--weights", str(commands.weights)),
        ("--data-root", str(commands.photographs)),
        ("--output", str(commands.output)),
        *(() if "--run" in given else (("--backbone", "small"), ("--dataset", "pairs"))),
    ):
        arguments += [] if flag in given else [flag, value]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEFTCORR_CACHE", str(commands.folder / "cache"))
        return main(arguments)


def choice(commands: Commands) -> PredictorChoice:
    [path] = (commands.output / "predictors").iterdir()
    assert path.name == "small-small-weights-32px.json"
    return PredictorChoice.model_validate(read_json(path))


def test_the_best_on_val_is_kept_and_later_runs_use_it(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = SpairFolder.load
    monkeypatch.setattr(SpairFolder, "load", lambda self, split: loaded.append(split) or load(self, split))
    assert tune(commands, *GRID) == 0
    assert loaded == ["val"], "nothing but val is read"
    found = choice(commands)
    assert (found.split, found.dataset, found.strategy, found.run_id) == (
        "val",
        "photographs",
        "frozen",
        None,
    )

    split = load_split(commands.photographs, commands.folder / "cache2", "val")
    backbone = build(Small, commands.weights)
    categories = [split.data.categories[number] for number in split.data.target[split.data.pair]]
    expected = {}
    for setting in grid([0, 1, 2], [5, 40]):
        name = f"window_softargmax(radius={setting.radius},temperature={setting.temperature:g})"
        evaluator = Evaluator(Encoder(backbone), Accelerator(cpu=True), 16, SILENT)
        [points] = evaluator.predict(split, [WindowSoftargmax(setting)]).points
        expected[name] = aggregate(
            points,
            split.data.target_points,
            split.data.reference_length[split.data.pair],
            split.data.pair,
            categories,
            [0.05, 0.1, 0.2],
        ).per_keypoint
    assert {name: found.pck[name] for name in expected} == expected
    assert {name.partition("(")[0] for name in found.pck} == {
        "argmax", "upsampled_argmax", "softargmax", "kernel_softmax", "window_softargmax",
    }  # fmt: skip
    best = max(expected, key=lambda name: expected[name]["0.05"])
    chosen = found.predictor
    assert best == f"window_softargmax(radius={chosen.radius},temperature={chosen.temperature:g})"
    said = capsys.readouterr().out
    assert "--predictor tuned uses it" in said

    assert commands.run("--strategy", "frozen", "--predictor", "argmax", "tuned") == 0
    record = commands.record()
    assert record.recipe["predictors"] == [
        {"name": "argmax"},
        {"name": "window_softargmax", "radius": chosen.radius, "temperature": chosen.temperature},
    ]
    assert set(record.scores["photographs/test"]) == {"argmax", best}


def test_test_stays_closed_while_a_predictor_is_chosen(
    commands: Commands, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def peek(*arguments: object) -> None:
        SpairFolder(SpairFolder.Config(), commands.photographs, commands.folder / "cache").load("test")

    monkeypatch.setattr("peftcorr.engine.tuning.scored", peek)
    assert tune(commands, *GRID) == 2
    assert "was asked for before the tuning of the predictor had ended" in capsys.readouterr().err


def test_a_finished_run_is_tuned_with_its_adapter(commands: Commands) -> None:
    assert commands.run("--strategy", "lora") == 0
    record = commands.record()
    assert tune(commands, "--run", record.run_id[:5], *GRID) == 0
    found = choice(commands)
    assert (found.run_id, found.strategy) == (record.run_id, "lora")
    best = next(point.pck for point in record.validation if point.step == record.best_step)
    assert found.pck["argmax"]["0.1"] == pytest.approx(best)
    assert tune(commands, *GRID) == 0
    assert choice(commands).pck != found.pck, "the adapter made no difference"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--strategy", "lora"), "'lora' trains, so it needs an adapter: name a finished run with --run"),
        (("--run", "nothing"), "There is no finished run nothing"),
        (("--run", "nothing", "--strategy", "frozen"), "leave out --strategy"),
        (("--radius", "-1"), "needs --radius of 0 or more"),
        (("--temperature", "0"), "--temperature above 0"),
    ],
)
def test_what_cannot_be_tuned(
    commands: Commands, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    assert tune(commands, *more) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not (commands.output / "predictors").exists()


def test_without_a_val_split_nothing_is_chosen(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    (commands.photographs / "Layout" / "large" / "val.txt").unlink()
    assert tune(commands, *GRID) == 2
    assert "has no val split to choose a predictor on (it has trn, test)" in capsys.readouterr().err


def test_a_run_without_a_choice_says_how_to_make_one(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run("--strategy", "frozen", "--predictor", "tuned") == 2
    error = capsys.readouterr().err
    assert "has no setting for small (small-weights) at 32 px" in error
    assert "run peftcorr tune-predictor" in error
    assert not commands.output.exists()


def test_a_choice_for_another_backbone_is_not_used(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(commands, *GRID) == 0
    [path] = (commands.output / "predictors").iterdir()
    content = read_json(path)
    for change, said in (
        ({"weights_sha256": "0" * 64}, "was chosen with other weights"),
        ({"backbone": {**content["backbone"], "layer": 1}}, "was chosen with another backbone.layer"),
        ({"predictor": {"name": "window_softargmax", "radius": -1}}, "is no valid choice"),
    ):
        write_json(path, {**content, **change})
        assert commands.run("--strategy", "frozen", "--predictor", "tuned") == 2
        assert said in capsys.readouterr().err
    path.write_text(json.dumps({**content, "alpha": 0.2}))
    assert commands.run("--strategy", "frozen", "--predictor", "tuned") == 2
    assert "is no valid choice" in capsys.readouterr().err, "it was edited by hand"


def test_the_grid_has_argmax_once_and_small_windows_first() -> None:
    settings = grid([2, 0, 1, 1], [40, 5])
    assert [(s.radius, s.temperature) for s in settings] == [(0, 5), (1, 5), (1, 40), (2, 5), (2, 40)]
    for radii, temperatures in (([], [1.0]), ([1], []), ([1], [5, float("nan")])):
        with pytest.raises(PeftCorrError):
            grid(radii, temperatures)


def test_of_equal_settings_the_smallest_window_is_chosen() -> None:
    scores = {
        Setting(radius=r, temperature=10): {"0.05": value} for r, value in ((0, 1.0), (1, 3.0), (2, 3.0))
    }
    assert Tuning("farm", 1, 1, scores, {}).best(0.05).radius == 1
