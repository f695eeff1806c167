"""A run made ready for a pull request to the leaderboard: checked, some of its predictions made anew, and laid out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import Accelerator
from numpy.typing import NDArray

from peftcorr.console import numbers
from peftcorr.console.numbers import Spread
from peftcorr.data.correspondences import correspondences
from peftcorr.data.reference import reversed_pairs
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.flip import predict_with_flip
from peftcorr.engine.plan import Plan, finalise
from peftcorr.engine.prediction_table import prediction_table
from peftcorr.engine.scoring import scorer
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.files import whole_folder
from peftcorr.model.finished import load_finished, sealed_run
from peftcorr.predictions import PREDICTION_SCHEMA, read_predictions, write_predictions
from peftcorr.report.configuration import description
from peftcorr.report.pipes import escaped, table
from peftcorr.results.identity import changed
from peftcorr.results.record import Record
from peftcorr.results.store import Store

PAIRS = 40  # of each split, made anew
_SEED = 0
_NEAR = 0.01  # pixels that a prediction may move: another device or batch adds in another order
_AGREEING = 0.99  # share that has to; of a near tie the other side may win
_KEYS = ("predictor", "pair_id", "keypoint_id")


@dataclass(frozen=True)
class Sample:
    """Predictions of some pairs made anew, beside those that the run saved.

    Attributes:
        table: as they are now, with the columns of a run's predictions.
        same: how many are the same to the last digit.
        near: how many are within `_NEAR` pixels.
        furthest: the largest distance, in pixels of the target image.
    """

    table: pa.Table
    same: int
    near: int
    furthest: float

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def told(self) -> str:
        """How they compare, in a clause."""
        if self.same == len(self):
            return "all are the same to the last digit"
        return (
            f"{self.same:,} are the same to the last digit, {self.near:,} within {_NEAR} pixels, the furthest is "
            f"{self.furthest:.2g} off"
        )


def submit(run_id: str, folder: Path | None, bench: Workbench, accelerator: Accelerator) -> str:
    """Check a finished run and write the folder for a pull request.

    Args:
        run_id: of a run in the output folder of `bench`, or the beginning of it.
        folder: where it goes, new or empty; None for ``submission-`` and the run's id.
        bench: has the datasets and weights that the run was made from.
        accelerator: what the predictions are made on.

    Returns:
        what was checked and written, in a sentence or two.

    Raises:
        PeftCorrError: if a file of the run is not as the run wrote it, data or weights here are others, its predictions
            come out otherwise, or the folder is not empty.
    """
    record = sealed_run(run_id, bench.store, ("predictions", "adapters"))
    place = folder or Path(f"submission-{record.run_id}")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise PeftCorrError(f"{place} is there already: give a new or empty folder.")
    sample = remade(record, bench, accelerator)
    if sample.near < _AGREEING * len(sample):
        raise PeftCorrError(
            f"Only {sample.near:,} of {len(sample):,} predictions of the run {record.run_id} come out again (the "
            f"furthest is {sample.furthest:.2f} pixels off): it cannot be submitted as it is; run it again here."
        )
    checked = f"{len(sample):,} of its predictions were made anew: {sample.told()}."
    try:
        with whole_folder(place.absolute()) as temporary:
            _lay_out(record, bench.store, sample, checked, temporary)
    except OSError as error:
        raise PeftCorrError(
            f"Cannot write {place}: {error.strerror or error}. Give another folder."
        ) from error
    return f"Every file is as the run wrote it. {checked} {place / 'SUBMIT.md'} says what to do with it."


def remade(record: Record, bench: Workbench, accelerator: Accelerator) -> Sample:
    """Make the predictions of some pairs of every split of a run anew, the same pairs each time.

    Raises:
        PeftCorrError: if data or weights here are not those that the run read, or it saved predictions of other pairs.
    """
    finished = load_finished(record, bench.store, bench.weights)
    plan = finalise(finished.recipe, bench)
    if others := changed(record.ingredients, plan.ingredients):
        raise PeftCorrError(
            f"{', '.join(others)}: not what the run {record.run_id} read. Give the same with --data-root and --weights."
        )
    saved = read_predictions(bench.store.predictions_path(record.run_id))
    evaluator = scorer(finished.recipe, finished.backbone, bench, accelerator)
    predict = predict_with_flip if plan.recipe.flip == "adaptive" else Evaluator.predict
    tables, distances = [], []
    for whole in _tested(plan, bench):
        rows = _chosen(len(whole.dataset))
        dataset = replace(whole.dataset, table=whole.dataset.table.select(rows.tolist()))
        data = correspondences(dataset)
        if whole.backwards:
            data = reversed_pairs(data, whole.store.sizes(data.images, data.sizes))
        split = Split(dataset, data, whole.store, backwards=whole.backwards)
        again = prediction_table(split, predict(evaluator, split, plan.predictors), plan.labels)
        tables.append(again.set_column(*_column("pair", rows[again["pair"].to_numpy()])))
        distances.append(_distances(_of(saved, whole, rows), again, record))
    found = np.concatenate(distances) if distances else np.zeros(0)
    return Sample(
        pa.concat_tables(tables),
        int((found == 0).sum()),
        int((found <= _NEAR).sum()),
        float(found.max(initial=0.0)),
    )


def _tested(plan: Plan, bench: Workbench) -> list[Split]:
    limit, backwards = plan.recipe.limit_pairs, plan.preset.direction == "backwards"
    return [
        bench.split(source, "test", plan.model.options, limit, plan.framing, backwards)
        for source in plan.tested
    ]


def _chosen(pairs: int) -> NDArray[np.int64]:
    """Rows of the pairs that are made anew."""
    chosen = np.random.default_rng(_SEED).choice(pairs, min(PAIRS, pairs), replace=False)
    return np.sort(chosen).astype(np.int64)


def _column(name: str, values: NDArray[Any]) -> tuple[int, pa.Field, pa.Array]:
    field = PREDICTION_SCHEMA.field(name)
    return PREDICTION_SCHEMA.get_field_index(name), field, pa.array(values, field.type)


def _of(saved: pa.Table, split: Split, rows: NDArray[np.int64]) -> pa.Table:
    """What a run saved of some pairs of a split."""
    dataset, name = split.dataset.name, split.dataset.split
    here = pc.and_(pc.equal(saved["dataset"], dataset), pc.equal(saved["split"], name))
    return saved.filter(pc.and_(here, pc.is_in(saved["pair"], pa.array(rows, pa.int32()))))


def _distances(saved: pa.Table, again: pa.Table, record: Record) -> NDArray[np.float64]:
    """How far each prediction moved, in pixels: (rows,)."""
    keys = [list(zip(*(one[key].to_pylist() for key in _KEYS), strict=True)) for one in (saved, again)]
    if keys[0] != keys[1]:
        raise PeftCorrError(
            f"The predictions that the run {record.run_id} saved are of other keypoints than its data has here: run it "
            "again."
        )
    steps = [again[name].to_numpy() - saved[name].to_numpy() for name in ("prediction_x", "prediction_y")]
    found: NDArray[np.float64] = np.hypot(*steps)
    return found


def _lay_out(record: Record, store: Store, sample: Sample, checked: str, folder: Path) -> None:
    """Copy the record and adapter as the leaderboard keeps them, and write the sample and the text."""
    board = folder / "leaderboard"
    for path in (store.record_path(record.run_id), *(store.root / name for name in record.files)):
        if path.is_relative_to(store.root / "predictions"):
            continue  # hundreds of megabytes, some; the sample stands for them
        goal = board / store.inside(path)
        goal.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, goal)
        else:
            shutil.copyfile(path, goal)
    write_predictions(sample.table, folder / "sample.parquet")
    (folder / "SUBMIT.md").write_text(_text(record, checked), encoding="utf-8")


def _text(record: Record, checked: str) -> str:
    return _TEXT.format(
        title=escaped(description(record)), run_id=record.run_id, checked=checked, scores=_scores(record)
    )


def _scores(record: Record) -> str:
    rows: list[Sequence[str]] = []
    for where, predictors in record.scores.items():
        for predictor, scores in predictors.items():
            intervals = (scores.intervals or {}).get("per_keypoint", {})
            for alpha, value in scores.per_keypoint.items():
                shown = numbers.with_interval(Spread(value, interval=intervals.get(alpha)))
                rows.append((escaped(where), escaped(predictor), f"@{alpha}", shown))
    return table(("Dataset", "Predictor", "PCK", "per keypoint"), rows, left=(0, 1, 2))


_TEXT = """\
# Submission of {title}

## What to do

1. Fork the repository of peftcorr, clone your fork and make a branch in it.
2. Copy the folder `leaderboard/` from here over the clone's. Git takes the record alone: the adapter stays out of it.
3. Run `peftcorr compile leaderboard`, then `git add leaderboard` and commit.
4. Push the branch and open a pull request. Its text is below; attach `sample.parquet`, in a ZIP archive.
5. To let others load the model, run `peftcorr push {run_id} user/name` and name the repository in the text.

## Text of the pull request

{title} (run `{run_id}`).

Every file was as the run wrote it. {checked}

{scores}

To repeat it: `peftcorr reproduce leaderboard/records/{run_id}.json -o reproduced`, with `--data-root` and `--weights`
as your data and weights lie.
"""
