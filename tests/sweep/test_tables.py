"""Published tables: every shipped one is sound, and no figure in them is without its row among those published."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.recipe import resolve
from peftcorr.report.published import read_published
from peftcorr.sweep.tables import LOSSES, read_table

PROJECT = Path(__file__).resolve().parents[2]
NAMES = sorted(
    path.relative_to(PROJECT / "recipes" / "tables").with_suffix("").as_posix()
    for path in (PROJECT / "recipes" / "tables").rglob("*.yaml")
    if path.name != "base.yaml"
)


def test_the_tables_that_ship() -> None:
    assert ["brief", *(f"men/{number}" for number in range(1, 7)), "men/figure-2"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_of_a_shipped_table_is_a_recipe(name: str) -> None:
    table = read_table(name)
    first = Path(PROJECT, "recipes", "tables", f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# peftcorr reproduce-table {name}"
    for cell in table.cells():
        if cell.backbone != table.backbones[0] and cell.method != table.methods[-1]:
            continue  # every backbone and every method once
        recipe = resolve(
            {"backbone": cell.backbone_section, "strategy": cell.strategy_section}, [], Path(table.recipe)
        )
        assert recipe.dataset["name"] == "spair71k"
        assert (recipe.training.loss.distance, recipe.training.loss.cross_entropy) == (1, 0)


def test_the_brief_has_everything() -> None:
    table = read_table("brief")
    assert len(list(table.cells())) == 49
    assert table.predictors == ["argmax", "window"]
    assert table.eval_on == ["pf_pascal", "pf_willow", "ap10k"]


def test_the_other_loss_is_this_projects() -> None:
    from peftcorr.matching.loss import LossConfig

    recipe = resolve(LOSSES["own"], [], Path("spair71k/last-1"))
    assert recipe.training.loss == LossConfig()
    assert recipe.training.steps == 3000


def test_every_figure_is_one_of_those_published() -> None:
    published = read_published(PROJECT / "leaderboard" / "published.yaml")
    assert published is not None
    ours = {
        (row.model, row.tuning): (float(row.per_keypoint or "nan"), float(row.per_image or "nan"))
        for row in published.rows
        if row.source == "men" and row.benchmark == "SPair-71k"
    }
    table = read_table("brief")
    assert len(table.published) == len(ours) == 7
    for figure in table.published:
        tuning = figure.method + (" and window soft-argmax" if figure.predictor == "window" else "")
        assert ours[figure.backbone, tuning] == (figure.per_keypoint, figure.per_image)
        assert figure.dataset == "spair71k"


def test_images_are_counted_once_a_validation() -> None:
    table = read_table("men/6")
    assert table.scored_images("spair71k", 6) == 481 + 6 * 322 + 100
    assert read_table("men/3").scored_images("synthetic", 6) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("methods: [frozn]", "methods: 'frozn' is not under known_methods. Did you mean 'frozen'"),
        ("methods: []", "is no table of a publication: methods"),
        ("rows: 3", "is no table of a publication: rows"),
    ],
)
def test_a_wrong_table_is_refused(change: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    base = PROJECT / "recipes" / "tables" / "men" / "3.yaml"
    (tmp_path / "base.yaml").write_text(
        (base.parent / "base.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (tmp_path / "3.yaml").write_text(base.read_text(encoding="utf-8"), encoding="utf-8")
    path.write_text(f"extends: 3.yaml\n{change}\n", encoding="utf-8")
    with pytest.raises(PeftCorrError, match=said):
        read_table(str(path))


def test_an_unknown_table_names_the_nearest() -> None:
    with pytest.raises(PeftCorrError, match=r"There is no table 'men/33'.*Did you mean 'tables/men/3'"):
        read_table("men/33")
