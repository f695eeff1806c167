from __future__ import annotations

from pathlib import Path

import pyarrow as pa

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
