"""Every list is an axis: which cells a command stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.recipe import Recipe
from peftcorr.sweep.cells import Asked, cells, parse_vary
from tests.commanding import Commands


@pytest.fixture
def asked(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> object:
    """A function of strategies and of what is varied: the recipes that it comes to."""
    from peftcorr.console.progress import Progress
    from peftcorr.engine.workbench import Workbench

    bench = Workbench(
        {"pairs": commands.photographs},
        commands.weights,
        commands.output,
        commands.folder / "cache",
        Progress(None),
    )

    def of(strategies: list[str], vary: dict[str, list[object]], recipe: Path | None = None) -> list[Recipe]:
        axes = {
            "strategy": [{"name": name} for name in strategies],
            "backbone": [{"name": "small"}],
            "dataset": [{"name": "pairs"}],
        }
        return [found for found, _ in cells(Asked(axes, {}, [], recipe, vary), bench)]

    return of


def test_an_option_is_an_axis_where_a_strategy_has_it(asked) -> None:  # type: ignore[no-untyped-def]
    found = asked(["frozen", "last_k", "lora"], {"strategy.k": [1, 2], "strategy.rank": [4, 8]})
    assert [(r.strategy["name"], r.strategy.get("k"), r.strategy.get("rank")) for r in found] == [
        ("frozen", None, None),
        ("last_k", 1, None),
        ("last_k", 2, None),
        ("lora", None, 4),
        ("lora", None, 8),
    ]


def test_any_key_is_an_axis(asked) -> None:  # type: ignore[no-untyped-def]
    vary = {"backbone.image_size": [32, 64], "training.steps": [1, 2], "seed": [3, 4]}
    found = asked(["lora"], vary)
    assert len(found) == 8
    assert {(r.backbone["image_size"], r.training.steps, r.seed) for r in found} == {
        (size, steps, seed) for size in (32, 64) for steps in (1, 2) for seed in (3, 4)
    }


def test_an_option_that_nobody_has_is_refused(asked) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PeftCorrError, match=r"there is no key 'rnak'. Did you mean 'rank'"):
        asked(["lora", "last_k"], {"strategy.rnak": [1]})


def test_a_recipe_has_axes_too_and_the_command_line_wins(asked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("vary: {strategy.k: [1, 2, 3], seed: [0, 1]}\n")
    assert len(asked(["last_k"], {}, recipe)) == 6
    found = asked(["last_k"], {"strategy.k": [2]}, recipe)
    assert [(r.strategy["k"], r.seed) for r in found] == [(2, 0), (2, 1)]
    recipe.write_text("vary: [strategy.k]\n")
    with pytest.raises(PeftCorrError, match="vary must be a mapping"):
        asked(["last_k"], {}, recipe)


def test_vary_on_the_command_line() -> None:
    assert parse_vary(["strategy.k=1,2", "backbone.resize=pad,stretch", "strategy.blocks=all,[0,1]"]) == {
        "strategy.k": [1, 2],
        "backbone.resize": ["pad", "stretch"],
        "strategy.blocks": ["all", [0, 1]],
    }
    for wrong in ("strategy.k", "=1,2", "strategy.k="):
        with pytest.raises(PeftCorrError, match="write it as key=v1,v2"):
            parse_vary([wrong])
    with pytest.raises(PeftCorrError, match="no YAML"):
        parse_vary(["strategy.k=[1,"])
