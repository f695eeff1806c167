"""What was held out on the leaderboard: means over seeds, differences to the frozen backbone, and what stays apart."""

from __future__ import annotations

from typing import Any

import pytest

from peftcorr.console.numbers import MISSING
from peftcorr.metrics.presets import PRESETS
from peftcorr.report.every_row import every_row
from peftcorr.report.leaderboard import build_leaderboard
from peftcorr.report.unseen import unseen_section
from tests.report.conftest import RecordMaker, _scores

HOLD_OUT = {"keypoints": 0.3, "categories": [], "seed": 0}


def held(seen: float, unseen: float, draw: int = 0) -> dict[str, Any]:
    """Fields of a record whose recipe holds keypoints out."""
    parts = {"seen": _scores(seen, 900), "unseen_keypoints": _scores(unseen, 300)}
    whole = {"keypoints": {"cat": [str(draw)]}, "categories": [], "scores": {"argmax": parts}}
    dataset = {"name": "synthetic", "hold_out": {**HOLD_OUT, "seed": draw}}
    return {"recipe": {"dataset": dataset}, "generalisation": {"synthetic/test": whole}}


def test_seeds_are_averaged_and_stand_beside_the_frozen_backbone(make_record: RecordMaker) -> None:
    records = [
        make_record("a", "frozen", 20.0, trainable=0, **held(20, 25)),
        make_record("b", seed=0, pck=50.0, **held(60, 30)),
        make_record("c", seed=1, pck=52.0, **held(62, 32)),
        make_record("d", seed=0, pck=70.0),
    ]
    board = build_leaderboard(records)
    section = unseen_section(board)
    assert "### synthetic/test, tiny, 128 px, synthetic without 30 % of the keypoints" in section
    rows = [line for line in section.splitlines() if line.startswith(("| frozen", "| lora"))]
    assert [cell.strip() for cell in rows[0].split("|")][2:5] == [MISSING, "20.00", "25.00"]
    lora = [cell.strip() for cell in rows[1].split("|")]
    assert lora[2:5] == ["2", "61.00 ± 1.41 (+41.00)", "31.00 ± 1.41 (+6.00)"]
    assert len(rows) == 2, "a run that saw everything is not there"
    trained = {row.trained_on: row for row in board.sections[0].boards[0].rows if not row.is_frozen}
    assert set(trained) == {"synthetic", "synthetic without 30 % of the keypoints"}
    assert trained["synthetic"].parts == {}
    header, *lines = every_row(board).splitlines()
    assert "unseen_keypoints_per_keypoint@0.1_sd" in header
    assert any("synthetic without 30 % of the keypoints" in line for line in lines)


def test_draws_are_told_apart(make_record: RecordMaker) -> None:
    records = [
        make_record("a", "frozen", 20.0, trainable=0, **held(20, 25)),
        make_record("b", "frozen", 20.0, trainable=0, **held(22, 21, 1)),
        make_record("c", **held(60, 30)),
        make_record("d", **held(64, 28, 1)),
    ]
    section = unseen_section(build_leaderboard(records))
    first, second = section.split("###")[1:]
    assert "(draw 1)" in second
    assert "(draw 1)" not in first
    assert "30.00 (+5.00)" in first
    assert "28.00 (+7.00)" in second
    frozen = next(
        row
        for section in build_leaderboard(records).sections
        for row in section.boards[0].rows
        if row.is_frozen
    )
    assert frozen.parts == {}, "of one row of values there is no saying which draw they are of"


def test_nothing_where_nothing_was_held_out(make_record: RecordMaker) -> None:
    board = build_leaderboard([make_record("a")])
    assert unseen_section(board) == ""
    assert "unseen" not in every_row(board)


def lora_row(records: list[Any]) -> str:
    """Cells of the only trained row, behind its seeds, and the title of its table."""
    section = unseen_section(build_leaderboard(records))
    [part] = [one for one in section.split("### ")[1:] if "| lora" in one]
    title, *lines = part.splitlines()
    [row] = [line for line in lines if line.startswith("| lora")]
    return f"{title}: {' '.join(row.split('|')[3:]).split('|')[0]}".strip()


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": {"backbone": {"name": "tiny", "image_size": 128, "layer": 3}}},
        {"recipe": {"flip": "adaptive"}},
        {"recipe": {"convention": "sd_dino"}},
        {"weights_sha256": "ab" * 32},
        {"limit_pairs": 100},
        {"protocol": PRESETS["geoaware"]},
        {"schema_version": 2},
    ],
)
def test_the_difference_is_to_the_same_backbone_on_the_same_pairs(
    make_record: RecordMaker, other: Any
) -> None:
    def frozen(run_id: str, seen: float, unseen: float, recipe: Any = None, **change: Any) -> Any:
        fields = held(seen, unseen)
        recipe = {**fields.pop("recipe"), **(recipe or {})}
        return make_record(run_id, "frozen", seen, trainable=0, recipe=recipe, **fields, **change)

    trained = make_record("a", pck=60.0, **held(60, 30))
    for name in ("e", "g"):  # whichever comes last
        records = [trained, frozen(name, 25, 27, **other)]
        assert "(+" not in lora_row(records)
        assert "60.00 (+40.00)   30.00 (+5.00)" in lora_row([*records, frozen("f", 20, 25)])


def test_frozen_runs_that_do_not_agree_are_not_subtracted(make_record: RecordMaker) -> None:
    frozen = [
        make_record(name, "frozen", 20.0, trainable=0, **held(20, unseen))
        for name, unseen in (("f", 25), ("g", 26))
    ]
    frozen[1] = frozen[1].model_copy(update={"recipe": {**frozen[1].recipe, "encode_batch": 4}})
    assert "60.00 (+40.00)   30.00" in lora_row([make_record("a", pck=60.0, **held(60, 30)), *frozen])
    assert "30.00 (" not in lora_row([make_record("a", pck=60.0, **held(60, 30)), *frozen])


def test_a_table_says_which_pairs_it_is_of(make_record: RecordMaker) -> None:
    subset = make_record("a", pck=60.0, limit_pairs=100, **held(60, 30))
    title = lora_row([subset]).partition(":")[0]
    assert title == "synthetic/test, subset"
