"""A run with a plugin that breaks its contract or fails: refused in one sentence, which the record has too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commanding import PLUGIN, Commands

pytestmark = pytest.mark.usefixtures("plugins")

CODE = '''
import sys

import torch
from torch import nn

from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import Strategy, inject


class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def after(self, module, inputs, output):
        {hook}
        return self.gamma * output


@STRATEGIES.register("{name}")
class Wrong(Strategy):
    """Scales what the last MLP adds."""

    def apply(self, backbone):
        site = backbone.sites()[-1]
        scale = Scale(site.width)
        inject(backbone, site.block, "scale", scale)
        backbone.get_submodule(site.mlp_output).register_forward_hook(scale.after)
        {apply}

    def expected_parameters(self, backbone):
        return backbone.sites()[-1].width

    def first_trainable_block(self, backbone):
        return len(backbone.blocks()) - 1

    def after_step(self, backbone, step, steps):
        {step}
'''
BIAS = "backbone.get_submodule(backbone.sites()[0].block).norm1.bias"


def plugin(folder: Path, name: str, hook: str = "", apply: str = "", step: str = "pass") -> Path:
    file = folder / f"{name}.py"
    file.write_text(CODE.format(name=name, hook=hook, apply=apply, step=step), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "scaling",
            {"apply": f"with torch.no_grad(): {BIAS}.mul_(1.5)"},
            "Wrong changes the pretrained tensor",
        ),
        ("moving", {"step": f"with torch.no_grad(): {BIAS}.add_(1e-3)"}, "Wrong changed the frozen tensor"),
        ("halving", {"hook": "output = output / 2"}, "Wrong starts with features that differ"),
        ("raising", {"hook": "raise ValueError('no such thing')"}, "raising.py, line 17)"),
        ("leaving", {"step": "sys.exit(0)"}, "A plugin failed: it calls sys.exit: 0"),
    ],
)
def test_a_run_is_refused(
    commands: Commands, name: str, changes: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = plugin(commands.folder, name, **changes)
    assert commands.run("--plugin", str(file), "--strategy", name) == 1
    record = commands.record()
    assert record.status == "failed"
    assert said in (record.error or "")
    assert "\n" not in (record.error or "")
    assert said in capsys.readouterr().out
    assert not list(commands.output.glob("adapters/*"))


def test_a_sound_one_runs_beside_a_wrong_one(commands: Commands) -> None:
    files = [plugin(commands.folder, "sound"), plugin(commands.folder, "unsound", hook="output = output / 2")]
    plugins = [word for file in files for word in ("--plugin", str(file))]
    assert commands.run(*plugins, "--strategy", "unsound", "sound") == 1
    assert {record.strategy: record.status for record in commands.records()} == {
        "unsound": "failed",
        "sound": "ok",
    }


def test_a_process_says_that_a_plugin_left(commands: Commands) -> None:
    """While the options are looked at, before there is any cell."""
    file = plugin(commands.folder, "early")
    text = file.read_text(encoding="utf-8").replace(
        "    def apply", "    def trains(self):\n        sys.exit(0)\n\n    def apply"
    )
    file.write_text(text, encoding="utf-8")
    arguments = commands.arguments("--plugin", str(PLUGIN), "--plugin", str(file), "--strategy", "early")
    done = commands.forked(arguments)
    assert done.returncode == 2
    assert "A plugin failed: it calls sys.exit: 0 (" in done.stderr
    assert "early.py, line 26)" in done.stderr
