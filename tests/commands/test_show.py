"""``peftcorr show`` on small runs: pictures, page, and one sentence for what is wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from peftcorr.cli import main
from peftcorr.predictions import read_predictions
from peftcorr.report.side_by_side import COLOURS, GAP, SIDE
from tests.commanding import Commands
from tests.hostile import refused


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """With a frozen run and a LoRA."""
    found = Commands(tmp_path_factory.mktemp("show"))
    quick = (
        "training.steps=2",
        "training.images=3",
        "training.validate_every=2",
        "training.checkpoint_every=2",
    )
    assert found.run("--strategy", "frozen", "lora", assignments=quick) == 0
    return found


@pytest.fixture(autouse=True)
def cache(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEFTCORR_CACHE", str(commands.folder / "cache"))


def run_of(commands: Commands, strategy: str) -> str:
    [found] = [record.run_id for record in commands.records() if record.strategy == strategy]
    return found


def given(commands: Commands, folder: Path, *more: str, root: Path | None = None) -> list[str]:
    where = ["--output", str(commands.output), "--data-root", str(root or commands.photographs)]
    return ["show", run_of(commands, "lora"), *more, "-o", str(folder), *where]


def test_the_worst_pairs_are_drawn_on_their_pictures(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "seen"
    assert main(given(commands, folder, "--worst", "3")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "index.html")
    page = (folder / "index.html").read_text(encoding="utf-8")
    names = re.findall('src="([^"]+)"', page)
    assert len(names) == len(set(names)) == 3
    assert {path.name for path in folder.iterdir()} == {"index.html", *names}

    # Each keypoint of the worst pair has the colour of what became of it, where the file says that it was found.
    rows = read_predictions(commands.store.predictions_path(run_of(commands, "lora"))).to_pylist()
    pair_id = re.findall("pair ([^:]+:[a-z]+): from", page)[0]
    own = [one for one in rows if one["pair_id"] == pair_id and one["predictor"] == "argmax"]
    drawn = Image.open(folder / names[0])
    root = commands.photographs / "JPEGImages"
    source, target = (Image.open(root / own[0][f"{side}_image"]).size for side in ("source", "target"))
    left = round(source[0] * SIDE / max(source)) + GAP
    scale = SIDE / max(target)
    colours = {ImageColor.getrgb(COLOURS[kind]): kind for kind in ("right", "wrong", "mirrored")}
    top: dict[tuple[int, int], set[str]] = {}
    for one in own:
        distance = np.hypot(one["prediction_x"] - one["truth_x"], one["prediction_y"] - one["truth_y"])
        right = distance <= 0.1 * one["reference_length"]
        place = tuple(round((one[f"prediction_{axis}"] + 0.5) * scale - 0.5) for axis in "xy")
        top.setdefault((place[0] + left, place[1]), set()).add("right" if right else "wrong")
    for place, kinds in top.items():
        assert colours.get(drawn.getpixel(place)) in kinds  # type: ignore[arg-type, call-overload]


def test_one_run_against_another_with_maps_and_the_way_to_a_point(commands: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    more = ["--against", run_of(commands, "frozen"), "--worst", "1", "--heatmap", "--overview"]
    assert main([*given(commands, folder, *more), "--weights", str(commands.weights), "--alpha", "0.3"]) == 0
    page = (folder / "index.html").read_text(encoding="utf-8")
    lora, frozen = run_of(commands, "lora"), run_of(commands, "frozen")
    assert f"{lora} is right, {frozen} is not" in page
    assert f"{frozen} is right, {lora} is not" in page
    assert Image.open(folder / "overview.png").size[0] > 1000
    maps = [path for path in folder.iterdir() if path.name.endswith("-similarity.png")]
    assert len(maps) == page.count("<figure>") > 0


def test_a_pair_or_a_category_and_a_folder_of_another_name(commands: Commands, tmp_path: Path) -> None:
    elsewhere = tmp_path / "moved"
    elsewhere.symlink_to(commands.photographs)
    assert main(given(commands, tmp_path / "one", "--category", "bird", "--worst", "1", root=elsewhere)) == 0
    page = (tmp_path / "one" / "index.html").read_text(encoding="utf-8")
    [pair_id] = re.findall("pair ([^:]+:bird): from", page)
    assert main(given(commands, tmp_path / "two", "--pair", pair_id)) == 0
    assert f"pair {pair_id}" in (tmp_path / "two" / "index.html").read_text(encoding="utf-8")


def test_what_cannot_be_shown_is_refused(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "none"
    for more, message in (
        (["--worst", "0"], "--worst must be at least 1"),
        (["--pair", "x", "--category", "bird"], "leave out --category"),
        (["--pair", "x"], "There is no pair 'x' here."),
        (["--category", "brid"], "Did you mean 'bird'?"),
        (["--dataset", "spair"], "was not scored on 'spair'"),
        (["--predictor", "argmin"], "Did you mean 'argmax'?"),
        (["--alpha", "-1"], "thresholds must be positive"),
        (["--against", "zzz"], "There is no finished run zzz"),
    ):
        assert message in refused(capsys, *given(commands, folder, *more))
    assert not folder.exists()
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    assert "give a new or empty folder" in refused(capsys, *given(commands, folder))


def test_other_pictures_than_the_run_read_are_refused(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "photographs"
    shutil.copytree(commands.photographs, other)
    image = next((other / "JPEGImages" / "bird").glob("*.jpg"))
    Image.open(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(image)
    said = refused(capsys, *given(commands, tmp_path / "seen", root=other))
    assert f"The run {run_of(commands, 'lora')} read other images than there are" in said
