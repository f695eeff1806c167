from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.results.predictions import PREDICTION_SCHEMA, read_predictions, write_predictions


def test_predictions_come_back_to_the_last_bit(tmp_path: Path) -> None:
    rows = [
        {
            name: (f"{name}:ü" if pa.types.is_dictionary(kind) else 7)
            for name, kind in zip(*columns(), strict=True)
        },
        {name: ("" if pa.types.is_dictionary(kind) else 1) for name, kind in zip(*columns(), strict=True)},
    ]
    rows[0]["prediction_x"] = 0.1 + 0.2
    path = tmp_path / "predictions" / "run.parquet"
    write_predictions(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), path)
    table = read_predictions(path)
    assert table.schema.equals(PREDICTION_SCHEMA)
    assert table.to_pylist() == rows
    assert [file.name for file in path.parent.iterdir()] == ["run.parquet"]


def columns() -> tuple[list[str], list[pa.DataType]]:
    return PREDICTION_SCHEMA.names, PREDICTION_SCHEMA.types


def test_a_file_from_before_a_column_was_added_reads_as_nulls(tmp_path: Path) -> None:
    row = {name: ("x" if pa.types.is_dictionary(kind) else 1) for name, kind in zip(*columns(), strict=True)}
    path = tmp_path / "old.parquet"
    added = ["viewpoint_variation", "scale_variation", "truncation", "occlusion"]
    pq.write_table(pa.Table.from_pylist([row], schema=PREDICTION_SCHEMA).drop_columns(added), path)
    table = read_predictions(path)
    assert table.schema.equals(PREDICTION_SCHEMA)
    assert table.to_pylist() == [{**row, **dict.fromkeys(added)}]


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"There is no predictions file .*none\.parquet"):
        read_predictions(tmp_path / "none.parquet")
