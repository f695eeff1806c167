from __future__ import annotations

from typing import Any

import pytest

from peftcorr.metrics.presets import PRESETS
from peftcorr.report.compile import compile_leaderboard
from peftcorr.report.leaderboard import build_leaderboard
from peftcorr.report.transfer import TransferMatrix, transfer_matrices
from peftcorr.results.record import Record
from peftcorr.results.store import Store


class Maker:
    """Records by what they were tested on: ``tested(id, strategy, synthetic=50.0, farm=30.0)``."""

    def __init__(self, make_record: Any, make_scores: Any):
        self._record, self._scores = make_record, make_scores

    def __call__(self, run_id: str, strategy: str, on: str = "synthetic", **rest: Any) -> Record:
        values = {name: rest.pop(name) for name in ("synthetic", "farm", "willow") if name in rest}
        pairs = {"synthetic": 900, "farm": 600, "willow": 300}
        scores = {f"{n}/test": {"argmax": self._scores(v, pairs[n])} for n, v in values.items()}
        trainable = 0 if strategy == "frozen" else 1000
        made = self._record(run_id, strategy, trainable=trainable, scores=scores, dataset=on, **rest)
        return Record.model_validate(made.model_dump(mode="json"))


@pytest.fixture
def tested(make_record: Any, make_scores: Any) -> Maker:
    return Maker(make_record, make_scores)


@pytest.fixture
def records(tested: Maker) -> list[Record]:
    farm: dict[str, Any] = {"on": "farm", "recipe": {"dataset": {"name": "pairs", "folder": "farm"}}}
    return [
        tested("f", "frozen", synthetic=20.0, farm=30.0, willow=40.0),
        *(tested(f"a{s}", "lora", synthetic=50.0 + s, farm=27.0 + s, willow=40.0, seed=s) for s in (0, 1, 2)),
        *(tested(f"b{s}", "lora", synthetic=19.0, farm=60.0 + 2 * s, seed=s, **farm) for s in (0, 1)),
    ]


def matrix(records: list[Record]) -> TransferMatrix:
    [found] = transfer_matrices(build_leaderboard(records))
    return found


def test_trained_on_rows_tested_on_columns_beside_frozen(records: list[Record]) -> None:
    found = matrix(records)
    assert found.title == "tiny, 128 px"
    assert found.columns == tuple(f"{name}/test, argmax: PCK@0.1" for name in ("farm", "synthetic", "willow"))
    assert [(row.label, row.trained_on) for row in found.rows] == [
        ("frozen", "-"),
        ("lora", "farm"),
        ("lora", "synthetic"),
    ]
    frozen, on_farm, on_synthetic = found.rows
    assert [cell and (cell.score.mean, cell.difference, cell.own) for cell in frozen.cells] == [
        (30.0, None, False),
        (20.0, None, False),
        (40.0, None, False),
    ]
    assert [cell and (cell.score.mean, cell.difference, cell.own, cell.seeds) for cell in on_farm.cells] == [
        (61.0, 31.0, True, 2),
        (19.0, -1.0, False, 2),
        None,
    ]
    assert [cell and (cell.score.mean, cell.score.sd, cell.difference) for cell in on_synthetic.cells] == [
        (28.0, 1.0, -2.0),
        (51.0, 1.0, 31.0),
        (40.0, 0.0, 0.0),
    ]


def test_the_page_shows_it(records: list[Record], store: Store) -> None:
    for record in records:
        store.write(record)
    page = compile_leaderboard(store.root).read_text(encoding="utf-8")
    assert "## Trained on one dataset, tested on another" in page
    assert "### Transfer of tiny, 128 px" in page
    assert "| frozen | - | - | 30.00 | 20.00 | 40.00 |" in page
    assert "| lora | farm | 2 | *61.00 ± 1.41* (+31.00) | 19.00 ± 0.00 (-1.00) | - |" in page
    assert (
        "| lora | synthetic | 3 | 28.00 ± 1.00 (-2.00) | *51.00 ± 1.00* (+31.00) | 40.00 ± 0.00 (+0.00) |"
        in page
    )
    assert (
        page.index("### synthetic/test") < page.index("## Trained on one") < page.index("## Where the rows")
    )
    before = page.encode()
    assert compile_leaderboard(store.root).read_bytes() == before


def test_the_order_of_the_records_does_not_matter(records: list[Record]) -> None:
    assert matrix(records) == matrix(records[::-1])


def test_nothing_is_shown_where_nothing_was_transferred(tested: Maker, store: Store) -> None:
    # A frozen backbone is tested on much and trained on nothing.
    for record in (
        tested("f", "frozen", synthetic=20.0, farm=30.0),
        tested("a", "lora", synthetic=50.0),
    ):
        store.write(record)
    assert not transfer_matrices(build_leaderboard(store.records()))
    assert "Trained on one" not in compile_leaderboard(store.root).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"backbone": {"name": "tiny", "image_size": 128, "layer": 3}}},
        {"weights_sha256": "0" * 64},
        {"recipe": {"score_precision": "bf16"}},
    ],
)
def test_the_difference_is_to_the_same_input_alone(tested: Maker, change: dict[str, Any]) -> None:
    trained = tested("a", "lora", synthetic=50.0, farm=33.0)
    other = tested("g", "frozen", farm=10.0, **change)
    # A matrix beside another backbone's frozen row has no difference to it; with its own it has.
    row = matrix([trained, other]).rows[-1]
    assert [cell and cell.difference for cell in row.cells] == [None, None]
    row = matrix([trained, other, tested("f", "frozen", farm=30.0)]).rows[-1]
    assert [cell and cell.difference for cell in row.cells] == [3.0, None]


def test_another_image_size_is_another_matrix(tested: Maker, records: list[Record]) -> None:
    large = {"recipe": {"backbone": {"name": "tiny", "image_size": 256}}}
    more = [tested("l", "lora", farm=70.0, **large), tested("m", "frozen", farm=65.0, **large)]
    found = transfer_matrices(build_leaderboard([*records, *more]))
    assert [one.title for one in found] == ["tiny, 128 px", "tiny, 256 px"]
    assert found[0] == matrix(records)
    assert [cell and cell.difference for cell in found[1].rows[-1].cells] == [5.0]


def test_frozen_runs_that_do_not_agree_give_no_difference(tested: Maker) -> None:
    first = tested("f", "frozen", farm=30.0)
    second = tested("g", "frozen", farm=31.0, recipe={"encode_batch": 4})
    trained = tested("a", "lora", farm=33.0)
    found = matrix([first, second, trained])
    assert [row.cells[0] and row.cells[0].difference for row in found.rows] == [None, None, None]


def test_definitions_of_correct_are_not_mixed(tested: Maker, records: list[Record]) -> None:
    by = {"recipe": {"preset": "geoaware"}, "protocol": PRESETS["geoaware"].model_dump(mode="json")}
    more = [tested("g", "frozen", farm=29.0, **by), tested("h", "ssf", farm=39.0, **by)]
    found = transfer_matrices(build_leaderboard([*records, *more]))
    assert [one.title for one in found] == ["tiny, 128 px", "tiny, 128 px, preset geoaware"]
    assert found[0].columns == matrix(records).columns
    assert [cell and cell.difference for cell in found[1].rows[-1].cells] == [10.0]


def test_names_are_escaped(tested: Maker, make_scores: Any, store: Store) -> None:
    scores = {"a|b<i>/test": {"window|x": make_scores(33.0, 900)}}
    record = tested("a", "lora", farm=1.0, weights_id="w*|`", official_weights=False)
    store.write(record.model_copy(update={"scores": {**record.scores, **_read(scores, record)}}))
    page = compile_leaderboard(store.root).read_text(encoding="utf-8")
    assert "### Transfer of w\\*\\|\\`, 128 px" in page
    assert "a\\|b&lt;i>/test, window\\|x: PCK@0.1" in page


def _read(scores: dict[str, Any], record: Record) -> Any:
    return Record.model_validate({**record.model_dump(mode="json"), "scores": scores}).scores


def test_records_of_version_1_have_rows_of_their_own(tested: Maker, records: list[Record]) -> None:
    later = [
        tested("g", "frozen", synthetic=21.0, schema_version=2),
        tested("c", "lora", synthetic=52.0, farm=33.0, schema_version=2),
    ]
    found = matrix([*records, *later])
    assert [name.partition(", argmax")[0] for name in found.columns] == [
        "farm/test",
        "synthetic/test",
        *(f"{name}/test, records of version 1" for name in ("farm", "synthetic", "willow")),
    ]
    assert [(row.label, [cell and cell.score.mean for cell in row.cells]) for row in found.rows] == [
        ("frozen", [None, 21.0, None, None, None]),
        ("frozen", [None, None, 30.0, 20.0, 40.0]),
        ("lora", [None, None, 61.0, 19.0, None]),
        ("lora", [33.0, 52.0, None, None, None]),
        ("lora", [None, None, 28.0, 51.0, 40.0]),
    ]
