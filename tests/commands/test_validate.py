from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from peftcorr.cli import main
from peftcorr.recipe import Recipe, resolve


def test_validate_prints_the_recipe_with_every_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("strategy: {name: adapter, bottleneck: 8}\n")
    assert main(["validate", str(path)]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert Recipe.model_validate(printed) == resolve({}, [], path)
    assert printed["strategy"] == {
        "name": "adapter", "bottleneck": 8, "blocks": "all", "layer_norm": False, "init_std": 0.001,
    }  # fmt: skip
    path.write_text("strategy: {name: adapter, botleneck: 8}\n")
    assert main(["validate", str(path)]) == 2
    assert "Did you mean 'bottleneck'?" in capsys.readouterr().err
