"""``peftcorr check-plugin`` and ``peftcorr new``: what passes, and what is refused by which check."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peftcorr.backbones import BACKBONES, Backbone
from peftcorr.backbones.small import families
from peftcorr.cli import main
from tests.commanding import PLUGIN, PROJECT, Commands
from tests.small_folder import write_folder

pytestmark = pytest.mark.usefixtures("plugins")

EXAMPLE = PROJECT / "tests" / "example_plugin" / "peftcorr_difffit.py"
DOCS = (PROJECT / "docs" / "plugins.md").read_text(encoding="utf-8")

WRONG = '''
from torch import nn
from peftcorr.strategies.base import Strategy, inject


class {name}(Strategy):
    """W_up W_down y is added to what each MLP adds, zero on both sides of the product."""

    def apply(self, backbone):
        for site in backbone.sites():
            layers = [nn.Linear(site.width, 2, bias=False), nn.Linear(2, site.width, bias=False)]
            for layer in layers:
                nn.init.zeros_(layer.weight)
            change = nn.Sequential(*layers)
            inject(backbone, site.block, "change", change)
            backbone.get_submodule(site.mlp_output or site.block).register_forward_hook(
                lambda module, inputs, output, change=change: {body}
            )

    def expected_parameters(self, backbone):
        return sum(4 * site.width for site in backbone.sites())
'''


def _copied(make: Callable[[], Backbone]) -> Callable[[], Backbone]:
    made = cache(make)
    return lambda: copy.deepcopy(made())


@pytest.fixture(scope="module")
def pretrained() -> dict[str, Callable[[], Backbone]]:
    """The small families, each made once for all checks."""
    return {name: _copied(make) for name, make in families().items()}


@pytest.fixture(autouse=True)
def _made_once(pretrained: dict[str, Callable[[], Backbone]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peftcorr.backbones.small.families", lambda: pretrained)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_the_example_plugin_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-plugin", str(EXAMPLE)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^dinov2 +(ok +){11}$", out, re.MULTILINE)
    assert re.search(r"^sd15 +(ok +){11}$", out, re.MULTILINE)
    assert "timm, ResNet: not checked. The strategy difffit needs a place that" in out
    assert "strategy DiffFit: it does what its kind promises." in out


@pytest.mark.parametrize("kind", ["strategy", "backbone", "predictor", "dataset"])
def test_a_new_file_passes_as_it_is(here: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"brand_new_{kind}"
    assert main(["new", kind, name]) == 0
    assert f"peftcorr check-plugin {name}.py" in capsys.readouterr().out
    data: list[str] = []
    if kind == "dataset":
        write_lines(here / "birds")
        data = ["--data-root", str(here / "birds")]
    assert main(["check-plugin", f"{name}.py", *data]) == 0
    out = capsys.readouterr().out
    assert f"{kind} BrandNew{kind.capitalize()}: it does what its kind promises." in out
    assert "refused" not in out


@pytest.mark.parametrize(
    ("kind", "name"), [("backbone", "convolutions"), ("dataset", "lines"), ("predictor", "top_cells")]
)
def test_what_new_writes_is_what_the_docs_print(here: Path, kind: str, name: str) -> None:
    assert main(["new", kind, name]) == 0
    code = (here / f"{name}.py").read_text(encoding="utf-8")
    assert f'```python title="{name}.py"\n{code}```\n' in DOCS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new", "strategy", "lora"], "There is a strategy lora already"),
        (["new", "strategy", "Mine"], "of small letters"),
        (["new", "strategy", "../mine"], "of small letters"),
        (["new", "predictor", "there"], r"there\.py is there already"),
        (["check-plugin", "nobody"], "There is nothing called 'nobody'"),
        (["check-plugin", "nobody.py"], "there is no such file"),
        (["check-plugin", "there.py"], r"there\.py defines no strategy"),
        (["check-plugin", "lora", "--set", "rnak=2"], "there is no key 'rnak'. Did you mean 'rank'?"),
        (["check-plugin", "pairs"], "is checked on a folder: give it with --data-root"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_understood(
    here: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "there.py").write_text("x = 1\n")
    assert main(words) == 2
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("name", "body", "check", "said"),
    [
        # There are gradients, and they stay zero.
        (
            "NeverMoves",
            "output + change(output)",
            "two steps",
            r"NeverMoves trains \S+change\.0\.weight, which two steps",
        ),
        ("Elsewhere", "1.5 * output + change(output)", "start", "Elsewhere starts with features that differ"),
        (
            "Fails",
            "output + undefined",
            "start",
            r"A plugin failed: NameError: .* \(\S+fails\.py, line \d+\)",
        ),
        (
            "Leaves",
            "__import__('sys').exit(0)",
            "start",
            r"A plugin failed: it calls sys\.exit: 0 \(\S+leaves\.py, line",
        ),
    ],
)
def test_a_wrong_strategy_is_refused_by_its_check(
    here: Path, name: str, body: str, check: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = here / f"{name.lower()}.py"
    file.write_text(WRONG.format(name=name, body=body), encoding="utf-8")
    assert main(["check-plugin", str(file)]) == 1
    out = capsys.readouterr().out
    assert f"strategy {name}: refused." in out
    assert re.search(said, out)
    header, dinov2 = out.splitlines()[1:3]
    assert header.rstrip().endswith(f"  {check}")
    assert dinov2.split()[-1] == "refused"


def test_names_have_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-plugin", "head", "--set", "channels=8", "hidden=4"]) == 0
    assert "strategy head: it does" in capsys.readouterr().out


def test_a_backbone_is_checked_with_its_weights(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check-plugin", "small", "--weights", str(commands.weights)]
    if "small" not in BACKBONES.names():
        arguments += ["--plugin", str(PLUGIN)]
    assert main(arguments) == 0
    assert "backbone small: it does what its kind promises." in capsys.readouterr().out


def test_a_folder_of_photographs_is_checked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(here / "photographs")
    assert main(["check-plugin", "pairs", "--data-root", str(root)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^test +(ok +){6}$", out, re.MULTILINE)


def write_lines(folder: Path) -> None:
    """A folder as the dataset of the docs reads it."""
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((90, 120, 3), 99, dtype=np.uint8)).save(folder / name)
    points = [[10.0, 20.0], [60.0, 50.0]]
    pair = {
        "category": "wren",
        "source": "a.png",
        "target": "b.png",
        "source_points": points,
        "target_points": points,
    }
    for split in ("trn", "test"):
        (folder / f"{split}.jsonl").write_text(f"{json.dumps(pair)}\n" * 2, encoding="utf-8")
