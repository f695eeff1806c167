from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.predictions import (
    LATER_COLUMNS,
    PREDICTION_SCHEMA,
    SIZE_COLUMNS,
    read_predictions,
    write_predictions,
)


def test_predictions_come_back_to_the_last_bit(tmp_path: Path) -> None:
    rows = [
        {
            name: (f"{name}:ü" if pa.types.is_dictionary(kind) else True if pa.types.is_boolean(kind) else 7)
            for name, kind in zip(*columns(), strict=True)
        },
        {
            name: None if name in LATER_COLUMNS else "" if pa.types.is_dictionary(kind) else 0
            for name, kind in zip(*columns(), strict=True)
        },
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


def old_table() -> pa.Table:
    def value(kind: pa.DataType) -> object:
        return "x" if pa.types.is_dictionary(kind) else pa.types.is_boolean(kind) or 7

    rows = [{name: value(kind) for name, kind in zip(*columns(), strict=True)} for _ in range(3)]
    return pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)


def test_a_file_of_before_sizes_were_kept_has_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / "a=1" / "old.parquet"
    path.parent.mkdir()
    pq.write_table(old_table().drop_columns(list(SIZE_COLUMNS)), path)
    table = read_predictions(path)
    assert table.schema.equals(PREDICTION_SCHEMA)
    assert table.drop_columns(list(SIZE_COLUMNS)).equals(old_table().drop_columns(list(SIZE_COLUMNS)))
    assert [table.column(name).null_count for name in SIZE_COLUMNS] == [3, 3, 3, 3]


def test_files_that_are_no_predictions(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"

    def refused(match: str) -> None:
        with pytest.raises(PeftCorrError, match=match) as caught:
            read_predictions(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused("no such file")
    path.write_text("dataset,split\n")
    refused("no readable Parquet file")
    pq.write_table(old_table().drop_columns(["truth_x", "pair"]), path)
    refused("has no column pair, truth_x")
    whole = old_table()
    for name, values, match in (
        ("truth_y", pa.array([1.0, None, 2.0]), "column truth_y has empty values"),
        ("category", pa.array(["a", None, "b"]), "column category has empty values"),
        ("truth_y", pa.array(["a", "b", "c"]), "cannot be read as predictions"),
    ):
        pq.write_table(whole.set_column(whole.column_names.index(name), name, values), path)
        refused(match)
    pq.write_table(whole, path)
    damaged = bytearray(path.read_bytes())
    damaged[20:200] = b"\xff" * 180
    path.write_bytes(bytes(damaged))
    refused("cannot be read")


def test_a_flipped_bit_is_named_or_means_nothing(tmp_path: Path) -> None:
    """Checksums of Parquet's pages do not cover the names and places of columns, which are at the file's end."""
    path = tmp_path / "p.parquet"
    write_predictions(old_table(), path)
    content, rows = path.read_bytes(), read_predictions(path).to_pylist()
    said = []
    for place in range(len(content) - 1, 0, -len(content) // 400):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            found = read_predictions(path).to_pylist()
        except PeftCorrError as error:
            said.append(str(error))
        else:
            assert found == rows
    assert len(said) > 100
    assert all(str(path) in text for text in said)


def test_a_file_that_was_written_anew_with_another_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(old_table(), path)
    table = pq.read_table(path)
    column = table.schema.get_field_index("prediction_x")
    pq.write_table(table.set_column(column, "prediction_x", pa.array([7.0, 7.0, 7.5])), path)
    with pytest.raises(PeftCorrError, match="was changed after it was written"):
        read_predictions(path)
