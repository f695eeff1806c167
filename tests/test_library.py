"""What ``import peftcorr`` gives: four functions, and none of the libraries that they stand on."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import peftcorr
from peftcorr.errors import PeftCorrError
from tests.commanding import PROJECT


def test_the_import_is_of_this_package_alone() -> None:
    script = (
        "import sys; before = set(sys.modules); import peftcorr; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    found = set(done.stdout.split())
    assert "peftcorr" in found
    assert found <= {"peftcorr", *sys.stdlib_module_names}


def test_there_are_four_functions_and_nothing_else() -> None:
    public = [name for name in dir(peftcorr) if not name.startswith("_")]
    assert public == ["evaluate", "leaderboard", "load", "train"]
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        peftcorr.loda  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", ["evaluate", "leaderboard", "load", "train"])
def test_each_is_documented_and_typed(name: str) -> None:
    function = getattr(peftcorr, name)
    parameters = inspect.signature(function).parameters
    assert inspect.getdoc(function)
    assert "Raises:" in function.__doc__
    for parameter in parameters:
        assert f"        {parameter}: " in function.__doc__, parameter
    assert set(function.__annotations__) == {*parameters, "return"}


def test_a_type_checker_sees_the_same_functions() -> None:
    source = (PROJECT / "peftcorr" / "__init__.py").read_text(encoding="utf-8")
    for name, place in peftcorr._PLACES.items():
        assert f"    from {place} import {name}\n" in source
    assert (PROJECT / "peftcorr" / "py.typed").is_file()
    assert typing.TYPE_CHECKING is False


def test_a_folder_without_runs_has_no_leaderboard(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match="There is no folder"):
        peftcorr.leaderboard(tmp_path)
    (tmp_path / "records").mkdir()
    assert peftcorr.leaderboard(tmp_path).rows == []


def test_without_pandas_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "records").mkdir()
    table = peftcorr.leaderboard(tmp_path)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PeftCorrError, match=r"pip install pandas, or use \.rows"):
        table.to_pandas()


def test_a_recipe_of_several_runs_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "two.yaml"
    recipe.write_text("strategy: frozen\nvary: {seed: [0, 1]}\n", encoding="utf-8")
    with pytest.raises(PeftCorrError, match="stands for 2 runs"):
        peftcorr.train(recipe, output=tmp_path / "out", progress=False)
    with pytest.raises(PeftCorrError, match="Did you mean 'strategy'"):
        peftcorr.train(overrides={"stratgy": "lora"}, output=tmp_path / "out", progress=False)
    with pytest.raises(PeftCorrError, match=r"there is no key 'training\.step'"):
        peftcorr.train(overrides={"training.step": 3}, output=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
