from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from peftcorr.results.predictions import PREDICTION_SCHEMA, read_predictions, write_predictions


def test_predictions_come_back_to_the_last_bit(tmp_path: Path) -> None:
    rows = [
        {
            name: (f"{name}:ü" if pa.types.is_dictionary(kind) else True if pa.types.is_boolean(kind) else 7)
            for name, kind in zip(*columns(), strict=True)
        },
        {name: ("" if pa.types.is_dictionary(kind) else None) for name, kind in zip(*columns(), strict=True)},
    ]
    rows[0]["prediction_x"] = 0.1 + 0.2
    path = tmp_path / "predictions" / "run.parquet"
    write_predictions(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), path)
    table = read_predictions(path)
    assert table.schema.equals(PREDICTION_SCHEMA)
    assert table.to_pylist() == rows
    assert [file.name for file in path.parent.iterdir()] == ["run.parquet"]


def test_a_file_of_before_a_column_was_known_has_nulls_there(tmp_path: Path) -> None:
    old = PREDICTION_SCHEMA.names[: PREDICTION_SCHEMA.get_field_index("target_occluded")]
    rows = [{name: "a" if pa.types.is_dictionary(PREDICTION_SCHEMA.field(name).type) else 2 for name in old}]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=pa.schema(map(PREDICTION_SCHEMA.field, old))), tmp_path / "old"
    )
    table = read_predictions(tmp_path / "old")
    assert table.schema.equals(PREDICTION_SCHEMA)
    assert table.select(old).to_pylist() == rows
    assert table.column("target_occluded").null_count == table.column("similarity").null_count == 1


def columns() -> tuple[list[str], list[pa.DataType]]:
    return PREDICTION_SCHEMA.names, PREDICTION_SCHEMA.types
