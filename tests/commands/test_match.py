"""``peftcorr match``: the library's matches, printed and drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import peftcorr
from peftcorr.cli import main
from peftcorr.report.side_by_side import COLOURS, panels
from tests.commanding import one_sentence
from tests.small_models import Small, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(Small, tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture
def arguments(
    tmp_path: Path, weights: Path, photograph: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Two points of one picture in two others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("peftcorr.machine.launch.use_all_cores", lambda: None)
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        photograph(60, 40 + seed, seed).save(name)
    backbone = ["--backbone", "small", "--weights", str(weights), "--device", "cpu"]
    return ["match", "a.png", "b.png", "c.png", "--points", "5,6", "30.5,20", *backbone]


def test_json_has_what_the_library_gives(
    arguments: list[str], weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["backbone"], found["strategy"], found["run_id"]) == ("small", "frozen", None)
    assert found["predictor"] == {"name": "argmax"}
    model = peftcorr.load(backbone="small", weights=weights, device="cpu")
    points, similarity = model.match("a.png", ["b.png", "c.png"], [[5, 6], [30.5, 20]])
    assert [match["image_b"] for match in found["matches"]] == ["b.png", "c.png"]
    for match, expected, peaks in zip(found["matches"], points, similarity, strict=True):
        assert [point["a"] for point in match["points"]] == [[5, 6], [30.5, 20]]
        np.testing.assert_array_equal([point["b"] for point in match["points"]], expected)
        np.testing.assert_allclose([point["similarity"] for point in match["points"]], peaks, atol=1e-6)


def test_the_drawing_has_a_marker_where_each_point_was_found(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments.remove("c.png")
    assert main([*arguments, "--picture", "out/drawn.png"]) == 0
    printed = capsys.readouterr().out
    assert "similarity" in printed
    assert "Drawn: out/drawn.png" in printed
    assert main([*arguments, "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["matches"][0]["points"]
    drawn = Image.open("out/drawn.png").convert("RGB")
    _, right = panels(*(np.asarray(Image.open(name)) for name in ("a.png", "b.png")))
    blue = tuple(int(COLOURS["found"][place : place + 2], 16) for place in (1, 3, 5))
    for point in points:
        x, y = right.place(tuple(point["b"]))
        assert drawn.getpixel((round(x), round(y))) == blue


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--points", "5,600"), r"(5, 600), outside of its image, which is 60 x 40 pixels"),
        (("--picture", "drawn.doc"), "--picture drawn.doc: give it a name that ends with .png"),
        (("--device", "nowhere"), "There is no device 'nowhere' here"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    assert main([*arguments, *more]) == 2
    assert said in one_sentence(" ".join(capsys.readouterr().err.split("\n")))


@pytest.mark.parametrize("point", ["5", "a,b", "1,2,3"])
def test_a_point_is_x_and_y(arguments: list[str], capsys: pytest.CaptureFixture[str], point: str) -> None:
    with pytest.raises(SystemExit):
        main([*arguments, "--points", point])
    assert f"'{point}' is no point: write x,y" in capsys.readouterr().err


def test_a_run_and_a_backbone_are_two_models(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*arguments, "--run", "05c4"])
    assert "not allowed with argument --backbone" in capsys.readouterr().err
