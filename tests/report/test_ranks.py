"""Images and seeds drawn anew for the leaderboard: made from the predictions once, and then read."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.bootstrap import add_intervals
from peftcorr.metrics.pair_scores import pair_scores
from peftcorr.metrics.seeds import interval_from_records, method_intervals
from peftcorr.report.compile import compile_leaderboard
from peftcorr.report.ranks import FILE, ranked
from peftcorr.results.identity import run_id
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.metrics.made import Row, drawn, table, written

ALPHAS = [0.05, 0.1, 0.2]


def nearer(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """Predictions so much nearer to the truth, another bit of them for every seed."""
    return [
        {**r, "prediction_x": r["truth_x"] + (share + 0.04 * seed) * (r["prediction_x"] - r["truth_x"])}
        for r in rows
    ]


@pytest.fixture
def filled(store: Store, make_record: Any) -> Store:
    """Frozen, three seeds of LoRA, two of a little better adapter; all with predictions and their digests."""
    rows = drawn(0, {"cat": 6, "dog": 6})
    runs = [("frozen", "frozen", 0, 1.0), *((f"lora-{s}", "lora", s, 0.8) for s in range(3))]
    runs += [(f"adapter-{s}", "adapter", s, 0.3) for s in range(2)]
    for name, kind, seed, share in runs:
        made = nearer(rows, share, seed)
        found = score_predictions(table(made), ALPHAS)
        add_intervals(found, table(made), ALPHAS, resamples=300)
        scores = {at: {key: one.model_dump() for key, one in by.items()} for at, by in found.items()}
        record = make_record(
            name, kind, trainable=0 if kind == "frozen" else 10, seed=seed, scores=scores, schema_version=2
        )
        named = run_id(record.recipe, {})
        path = written(made, store.root, named)
        store.write(record.model_copy(update={"run_id": named, "files": store.file_digest(path)}))
    return store


def first_lora(store: Store) -> Record:
    """The run of seed 0."""
    return next(one for one in store.records() if one.strategy == "lora" and one.seed == 0)


def line(page: str, name: str) -> str:
    return next(
        row for row in page.splitlines() if row.startswith("|") and f"{name} |" in row and "%)" in row
    )


def test_the_records_alone_give_an_interval_over_seeds(filled: Store) -> None:
    page = compile_leaderboard(filled.root).read_text(encoding="utf-8")
    assert " ± " in line(page, "lora, 3 seeds")
    assert "[" in line(page, "lora, 3 seeds")
    assert "| Best |" not in page
    assert "beyond" not in page


def test_ranks_say_who_is_best_and_which_gains_are_beyond_chance(filled: Store) -> None:
    page = compile_leaderboard(filled.root, ranks=True).read_text(encoding="utf-8")
    assert "| Gain | Best | Training time |" in page
    assert "% |" in line(page, "adapter, 2 seeds")
    best = {
        name: int(line(page, name).split(" % |")[-2].split("|")[-1])
        for name in ("adapter, 2 seeds", "frozen")
    }
    assert best["adapter, 2 seeds"] > 80
    assert best["frozen"] < 5
    assert " \\* |" in line(page, "lora, 3 seeds")
    assert "corrected for all gains" in page


def test_the_interval_is_that_over_seeds_and_images(filled: Store) -> None:
    compile_leaderboard(filled.root, ranks=True)
    leaderboard, _ = ranked(filled.records(), filled.root)
    row = next(row for row in leaderboard.sections[0].boards[0].rows if row.label == "lora")
    runs = [
        pair_scores(table(nearer(drawn(0, {"cat": 6, "dog": 6}), 0.8, seed)), ALPHAS) for seed in range(3)
    ]
    ends = method_intervals(runs)
    assert ends is not None
    assert len(row.scored) == 3
    assert row.per_keypoint["0.1"].interval == pytest.approx(ends[0, 1], abs=1e-3)
    assert row.category_mean_per_image["0.2"].interval == pytest.approx(ends[3, 2], abs=1e-3)


def test_without_the_predictions_the_file_gives_the_same_page(filled: Store) -> None:
    page = compile_leaderboard(filled.root, ranks=True).read_bytes()
    shutil.rmtree(filled.root / "predictions")
    assert compile_leaderboard(filled.root).read_bytes() == page


def test_a_new_row_leaves_the_ranks_out_until_they_are_drawn_again(filled: Store, make_record: Any) -> None:
    compile_leaderboard(filled.root, ranks=True)
    one = first_lora(filled)
    recipe = {**one.recipe, "strategy": {"name": "ssf"}}
    changed = {"run_id": run_id(recipe, {}), "strategy": "ssf", "recipe": recipe, "files": {}}
    filled.write(one.model_copy(update=changed))
    page = compile_leaderboard(filled.root).read_text(encoding="utf-8")
    assert "| Best |" not in page
    assert "[" in line(page, "lora, 3 seeds")
    again = compile_leaderboard(filled.root, ranks=True).read_text(encoding="utf-8")
    assert "| Best |" not in again  # one row left no predictions: who is best is not known


def test_what_was_drawn_from_other_predictions_does_not_count(filled: Store) -> None:
    compile_leaderboard(filled.root, ranks=True)
    one = first_lora(filled)
    filled.write(one.model_copy(update={"files": {f"predictions/{one.run_id}.parquet": "0" * 64}}))
    assert "| Best |" not in compile_leaderboard(filled.root).read_text(encoding="utf-8")
    with pytest.raises(PeftCorrError, match=f"was changed since the run {one.run_id} wrote it"):
        compile_leaderboard(filled.root, ranks=True)


def test_a_file_of_another_hand_is_refused(filled: Store) -> None:
    (filled.root / FILE).write_text('{"tables": []}', encoding="utf-8")
    with pytest.raises(PeftCorrError, match=r"ranks.json is not as peftcorr compile --ranks writes it"):
        compile_leaderboard(filled.root)


def test_an_interval_from_records_adds_the_parts() -> None:
    low, high = interval_from_records([50.0, 52.0], [(48.0, 53.0), (50.0, 55.0)])
    half = 12.7062 * 2**0.5 / 2**0.5
    assert low == pytest.approx(51 - (4 + half**2) ** 0.5, abs=1e-3)
    assert high == pytest.approx(51 + (9 + half**2) ** 0.5, abs=1e-3)
    assert interval_from_records([99.9, 99.5], [(99, 100), (99, 100)])[1] == 100.0
