"""``peftcorr.leaderboard``: the rows of the leaderboard as plain values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftcorr.console.numbers import Spread
from peftcorr.errors import PeftCorrError
from peftcorr.report.leaderboard import Board, Row, Section
from peftcorr.report.ranks import ranked
from peftcorr.results.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """The leaderboard's rows.

    Attributes:
        rows: one for each configuration, predictor and split that was scored, each board's best first. Keys are named
            after the record's fields; those of PCK after aggregate and threshold (``per_keypoint@0.1``), in percent,
            with ``_sd`` (over seeds) and ``_low`` and ``_high`` (95 %; of several seeds, over seeds and images) behind.
            ``digest`` is of the annotation and images that were tested on; empty in rows of version 1, whose records
            do not say what they were made from, and which are not ``traced``.
    """

    rows: list[dict[str, Any]]

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a table of pandas, a column for every key that one of them has.

        Raises:
            PeftCorrError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise PeftCorrError(
                "to_pandas needs pandas, which is not installed: pip install pandas, or use .rows."
            ) from error
        return pandas.DataFrame(self.rows)


def leaderboard(output: str | os.PathLike[str] = "runs") -> Table:
    """The rows of a folder of runs, as ``peftcorr compile`` writes them to its page.

    Args:
        output: output folder of the runs.

    Raises:
        PeftCorrError: if there are no records, or one of them is not valid.
    """
    root = Path(output)
    if not (root / "records").is_dir():
        raise PeftCorrError(f"There is no folder {root / 'records'}: give the output folder of a run.")
    sections = ranked(Store(root).records(), root)[0].sections
    return Table(
        [
            _plain(section, board, row)
            for section in sections
            for board in section.boards
            for row in board.rows
        ]
    )


def _plain(section: Section, board: Board, row: Row) -> dict[str, Any]:
    return {
        "scored_on": section.dataset,
        "digest": section.digest,
        "traced": section.traced,
        "convention": section.convention,
        "protocol": section.protocol.name,
        "predictor": board.predictor,
        "strategy": row.strategy,
        "label": row.label,
        "backbone": row.backbone,
        "image_size": row.image_size,
        "dataset": row.trained_on,
        "trainable_parameters": row.trainable,
        "total_parameters": row.total,
        **dict(_scores(row, board)),
        "n_pairs": section.n_pairs,
        "n_keypoints": section.n_keypoints,
        "subset": section.subset,
        "train_seconds": row.train_seconds,
        "peak_memory_bytes": row.peak_memory,
        "on_front": row.on_front,
        "seeds": list(row.seeds),
        "run_ids": list(row.run_ids),
    }


def _scores(row: Row, board: Board) -> Iterator[tuple[str, float | None]]:
    for aggregate, by_threshold in (("per_keypoint", row.per_keypoint), ("per_image", row.per_image)):
        for alpha in board.alphas:
            found = by_threshold.get(alpha)
            yield f"{aggregate}@{alpha}", None if found is None else found.mean
            yield from _spread(f"{aggregate}@{alpha}", found)


def _spread(name: str, found: Spread | None) -> Iterator[tuple[str, float | None]]:
    if found is not None and found.sd is not None:
        yield f"{name}_sd", found.sd
    if found is not None and found.interval is not None:
        yield from zip((f"{name}_low", f"{name}_high"), found.interval, strict=True)
