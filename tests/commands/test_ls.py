"""What there is, and what is known of one name."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.sizes import known, measure
from peftcorr.cli import main, make_parser
from peftcorr.commands.description import options_of
from peftcorr.commands.ls import REGISTRIES
from peftcorr.commands.run import _command_line
from peftcorr.matching import PREDICTORS
from peftcorr.recipe import resolve
from peftcorr.registry import OURS
from peftcorr.strategies import STRATEGIES
from tests.commanding import PROJECT

NEEDS = {"ray": "ray", "slurm": "submitit"}  # packages of extras that may not be installed
ALL = [
    (registry.kind, entry.name)
    for registry in REGISTRIES
    for entry in registry.entries()
    if entry.origin == OURS  # tests register more
]
LOADED = [one for one in ALL if one[1] not in NEEDS or find_spec(NEEDS[one[1]]) is not None]


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["ls", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_everything_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    out = capsys.readouterr().out
    for name in (
        "frozen", "last_k", "lora", "adapter", "adaptformer", "dinov2_vits14", "dinov2_vitg14_reg", "tiny",
        "spair71k", "pairs", "pf_willow", "pf_pascal", "ap10k", "coco", "synthetic",
        "argmax", "window_softargmax", "softargmax",
    ):  # fmt: skip
        assert re.search(rf"^{name} +[A-Z(]", out, re.MULTILINE), name
    assert "BROKEN" not in out
    *_, row = [line.split() for line in out.splitlines() if line.startswith("dinov2_vitb14 ")]
    assert row == ["dinov2_vitb14", "86,579,712", "14", "518", "Apache-2.0", "facebook/dinov2-base"]


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from peftcorr.cli import main; assert main(['ls']) == 0 and main(['ls', '--json']) == 0; "
        "heavy = {'torch', 'transformers', 'datasets', 'timm', 'numpy', 'pydantic'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr


def test_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys)
    assert [(one["kind"], one["name"]) for one in found if one["origin"] == OURS] == ALL
    tiny = next(one for one in found if one["name"] == "tiny")
    assert tiny["error"] is None
    assert tiny["origin"] == OURS
    assert (tiny["parameters"], tiny["stride"], tiny["image_size"]) == (2_758_464, 8, 112)


@pytest.mark.parametrize(("kind", "name"), LOADED)
def test_a_summary_is_the_docstring_s_first_line(kind: str, name: str) -> None:
    registry = next(registry for registry in REGISTRIES if registry.kind == kind)
    summary = next(entry.summary for entry in registry.entries() if entry.name == name)
    assert summary == (registry.get(name).__doc__ or "").strip().partition("\n")[0]


@pytest.mark.parametrize("name", known())
def test_the_table_of_sizes_is_true(name: str) -> None:
    """After a change of a backbone: python -m peftcorr.backbones.sizes writes the table anew."""
    assert known()[name] == measure(BACKBONES.get(name))


def test_the_table_of_sizes_is_whole() -> None:
    assert [("backbone", name) for name in known()] == [one for one in ALL if one[0] == "backbone"]


@pytest.mark.parametrize(("kind", "name"), LOADED)
def test_every_option_has_a_meaning(kind: str, name: str) -> None:
    registry = next(registry for registry in REGISTRIES if registry.kind == kind)
    for option in options_of(registry.get(name).Config):
        assert option.meaning, option.name
        assert "any" not in option.allowed.split(), option.name


def test_a_strategy(capsys: pytest.CaptureFixture[str]) -> None:
    [lora] = listed(capsys, "lora")
    assert (lora["kind"], lora["origin"], lora["module"]) == ("strategy", OURS, "peftcorr.strategies.lora")
    assert "Hu et al." in lora["paper"]
    assert "ICLR 2022" in lora["paper"]
    options = {option["name"]: option for option in lora["options"]}
    assert list(options) == list(STRATEGIES.get("lora").Config.model_fields)
    rank, dropout, targets, blocks = (options[name] for name in ("rank", "dropout", "targets", "blocks"))
    assert (rank["allowed"], rank["default"], rank["required"]) == ("integer, >= 1", 8, False)
    assert dropout["allowed"] == "number, >= 0, < 1"
    assert targets["default"] == ["q", "v"]
    assert targets["allowed"] == "list of q | k | v | out | fc1 | fc2 | conv, at least 1 of them"
    assert blocks["allowed"] == "all or list of integers, at least 1 of them"
    assert lora["schema"]["properties"]["rank"].items() >= {"type": "integer", "minimum": 1}.items()


def test_one_name_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "adaptformer"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("strategy adaptformer, of peftcorr\nA scaled bottleneck in parallel to the MLP")
    assert re.search(r"^bottleneck +64 +integer, >= 1 +width between", out, re.MULTILINE)
    assert "paper: AdaptFormer: Chen et al." in out
    assert out.endswith("example: peftcorr run --strategy adaptformer --set strategy.bottleneck=64\n")


def test_sections_inside_options_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    [synthetic] = listed(capsys, "synthetic")
    options = {option["name"]: option for option in synthetic["options"]}
    assert options["images.trn"]["default"] == 100
    assert options["images.trn"]["meaning"].endswith("for training")
    assert options["variety.azimuth"]["default"] == [5.0, 85.0]
    [dora] = listed(capsys, "dora")
    assert {"options.r", "options.lora_alpha"} <= {option["name"] for option in dora["options"]}


def test_a_name_of_a_family(capsys: pytest.CaptureFixture[str]) -> None:
    [model] = listed(capsys, "timm/vit_base_patch16_224")
    assert (model["parameters"], model["stride"], model["image_size"]) == (85_798_656, 16, 224)
    assert "PyTorch Image Models" in model["paper"]
    [both] = listed(capsys, "lora+norm")
    assert "lora.rank" in [option["name"] for option in both["options"]]
    assert both["example"].endswith("--set strategy.lora.rank=8")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("lorra", "There is nothing called 'lorra'. Did you mean 'lora'?"),
        ("spair71", "Did you mean 'spair71k'?"),
        ("zzzz", "There is nothing called 'zzzz'. peftcorr ls, without a name, lists what there is."),
        ("timm/vit_base_patch16_225", "Did you mean 'vit_base_patch16_224'"),
        ("lora+nrm", "Unknown strategy 'nrm'. Did you mean 'norm'?"),
    ],
)
def test_an_unknown_name(capsys: pytest.CaptureFixture[str], asked: str, said: str) -> None:
    assert main(["ls", asked]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "name"), [*LOADED, ("backbone", "timm/resnet50"), ("strategy", "lora+norm")]
)
def test_an_example_is_a_command_that_works(capsys: pytest.CaptureFixture[str], kind: str, name: str) -> None:
    """Up to the recipe that it stands for, in which the name is."""
    [found] = [one for one in listed(capsys, name) if one["kind"] == kind]
    program, *arguments = shlex.split(found["example"])
    assert program == "peftcorr"
    parsed = make_parser().parse_args(arguments)
    axes, fixed = _command_line(parsed)
    command_line = {**fixed, **{key: values[0] for key, values in axes.items() if values}}
    recipe = resolve(command_line, parsed.set, None)
    if kind == "launcher":
        assert parsed.launcher == name
        return
    sections = recipe.predictors if kind == "predictor" else [getattr(recipe, kind)]
    assert [section["name"] for section in sections] == [name]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file with a predictor and a strategy of one name; nothing of it stays."""
    for registry in (STRATEGIES, PREDICTORS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    path = tmp_path / "twice.py"
    path.write_text(
        "from pydantic import Field\n"
        "from peftcorr.matching import PREDICTORS\n"
        "from peftcorr.matching.predictors import Argmax, Predictor\n"
        "from peftcorr.strategies import STRATEGIES\n"
        "from peftcorr.strategies.frozen import Frozen\n"
        "@STRATEGIES.register('twice')\n"
        "class Mine(Frozen):\n"
        '    """A strategy of that name."""\n'
        "@PREDICTORS.register('twice')\n"
        "class Other(Argmax):\n"
        '    """A predictor of that name."""\n'
        "    class Config(Predictor.Config):\n"
        "        needed: int = Field(gt=2, description='must be given')\n"
    )
    yield path
    sys.modules.pop("peftcorr_plugin_twice", None)


def test_a_name_of_two_kinds_and_a_plugin_s_options(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "twice", "--plugin", str(plugin)]) == 0
    out = capsys.readouterr().out
    assert out.index("strategy twice, of peftcorr_plugin_twice") < out.index("predictor twice, of")
    assert "It has no options." in out
    assert re.search(r"^needed +required +integer, > 2 +must be given", out, re.MULTILINE)
    assert out.endswith("example: peftcorr run --strategy frozen --predictor twice\n")


@pytest.mark.parametrize("arguments", [("ls",), ("ls", "dora"), ("ls", "synthetic")])
def test_no_name_is_broken_in_80_columns(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(list(arguments)) == 0
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    lines = [line for line in out.splitlines() if not line.startswith("example:")]
    assert max(map(len, lines)) <= 80
    names = [name for _, name in ALL] if len(arguments) == 1 else ["options.lora_dropout"]
    if arguments[-1] == "synthetic":
        names = ["variety.articulation", "variety.any_colour"]
    words = set(out.split())
    assert set(names) <= words
