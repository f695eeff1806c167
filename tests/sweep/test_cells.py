"""Every list is an axis: which cells a command stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.recipe import Recipe
from peftcorr.sweep.cells import Asked, _combined, cells, parse_vary
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

    def of(
        strategies: list[str],
        vary: dict[str, list[object]],
        recipe: Path | None = None,
        assignments: Sequence[str] = (),
    ) -> list[Recipe]:
        axes = {
            "strategy": [{"name": name} for name in strategies],
            "backbone": [{"name": "small"}],
            "dataset": [{"name": "pairs"}],
        }
        return [found for found, _ in cells(Asked(axes, {}, assignments, recipe, vary), bench)]

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


def test_a_name_is_an_axis_and_options_are_those_of_the_names(asked) -> None:  # type: ignore[no-untyped-def]
    found = asked([], {"strategy.name": ["frozen", "last_k"], "strategy.k": [1, 2]})
    assert [(r.strategy["name"], r.strategy.get("k")) for r in found] == [
        ("frozen", None), ("last_k", 1), ("last_k", 2)
    ]  # fmt: skip


def test_no_option_is_left_out_without_a_word(asked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The recipe's strategy has k, that of --set has not."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("{strategy: last_k, vary: {strategy.k: [1, 2]}}\n")
    with pytest.raises(PeftCorrError, match="there is no key 'k'"):
        asked([], {}, recipe, ["strategy=lora"])


def test_values_are_what_was_written(asked) -> None:  # type: ignore[no-untyped-def]
    """Not what a second reading of their text would make of them."""
    keys: dict[str, list[object]] = {"precision": [False, "bf16"], "strategy.alpha": [1e-5, "1e-6"]}
    assert [(r.precision, r.strategy["alpha"]) for r in asked(["lora"], keys)] == [
        ("no", 1e-5), ("no", 1e-6), ("bf16", 1e-5), ("bf16", 1e-6)
    ]  # fmt: skip
    seen: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peftcorr.sweep.cells.resolve", lambda given, *_: seen.append(given["dataset"]))
        patch.setattr("peftcorr.sweep.cells._has", lambda *_: True)
        list(_combined(Asked({}, {"dataset": "coco"}, vary={"dataset.images": ["{split}/images"]})))
    assert seen[-1] == {"name": "coco", "images": "{split}/images"}
