"""Every prediction of a run in one Parquet file: any threshold, aggregate or preset is scored from it alone.

The file carries the digest of its columns, so that it can be told from a changed one without the run's record.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from peftcorr.data.identity import table_digest
from peftcorr.errors import PeftCorrError, shortened
from peftcorr.files import SEAL, atomic_path

PREDICTION_SCHEMA = pa.schema(
    [
        ("dataset", pa.dictionary(pa.int32(), pa.string())),
        ("split", pa.dictionary(pa.int32(), pa.string())),
        ("predictor", pa.dictionary(pa.int32(), pa.string())),
        ("pair", pa.int32()),  # row of the pair in the dataset's table
        ("pair_id", pa.dictionary(pa.int32(), pa.string())),
        ("category", pa.dictionary(pa.int32(), pa.string())),
        ("source_image", pa.dictionary(pa.int32(), pa.string())),
        ("target_image", pa.dictionary(pa.int32(), pa.string())),
        ("keypoint_id", pa.dictionary(pa.int32(), pa.string())),
        ("source_x", pa.float64()),  # original pixels, pixel centres on integers
        ("source_y", pa.float64()),
        ("truth_x", pa.float64()),
        ("truth_y", pa.float64()),
        ("prediction_x", pa.float64()),
        ("prediction_y", pa.float64()),
        ("reference_length", pa.float64()),
        ("target_width", pa.int32()),  # of the original target image
        ("target_height", pa.int32()),
        # Of the rectangle whose longer side reference_length is; null if there is none that is known.
        ("reference_width", pa.float64()),
        ("reference_height", pa.float64()),
        ("target_occluded", pa.bool_()),  # null where the dataset does not tell
        # The highest of the map that the prediction was made from: a cosine, but with the convention marco.
        ("similarity", pa.float32()),
        # Whether source and target have changed places: the dataset's target is looked at for keypoints of its source.
        ("backwards", pa.bool_()),
        # Of the pair, as SPair-71k grades it; null where a dataset does not.
        ("viewpoint_variation", pa.int8()),
        ("scale_variation", pa.int8()),
        ("truncation", pa.int8()),
        ("occlusion", pa.int8()),
    ]
)
SIZE_COLUMNS = ("target_width", "target_height", "reference_width", "reference_height")
# Null in files of before they were known.
LATER_COLUMNS = PREDICTION_SCHEMA.names[PREDICTION_SCHEMA.get_field_index("target_width") :]


def write_predictions(table: pa.Table, path: Path) -> None:
    """Write `table` (columns of `PREDICTION_SCHEMA`) to `path`, whole or not at all."""
    table = table.cast(PREDICTION_SCHEMA)
    table = table.replace_schema_metadata({SEAL: table_digest(table)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_predictions(path: Path) -> pa.Table:
    """Read what `write_predictions` wrote; the `LATER_COLUMNS` are null where an older file lacks them.

    Raises:
        PeftCorrError: if the file is missing or no Parquet, was changed since it was written, or a column is missing,
            of another type or has gaps.
    """
    if not path.is_file():
        raise PeftCorrError(f"{path}: there is no such file of predictions.")
    try:
        schema = pq.read_schema(path)
        names, seal = schema.names, (schema.metadata or {}).get(SEAL.encode())
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise PeftCorrError(f"{path} is no readable Parquet file ({_first_line(error)}).") from error
    needed = [name for name in PREDICTION_SCHEMA.names if name not in LATER_COLUMNS]
    missing = [name for name in needed if name not in names]
    if missing:
        raise PeftCorrError(
            f"{path} has no column {', '.join(missing)}: give the predictions that a run wrote."
        )
    try:
        # No partitioning: folders named like a=b above the file are no columns of it.
        table = pq.read_table(
            path, schema=PREDICTION_SCHEMA, partitioning=None, page_checksum_verification=True
        )
        there = table.select([name for name in PREDICTION_SCHEMA.names if name in names])
        sound = seal is None or seal == table_digest(there).encode()
    except (pa.ArrowException, OSError) as error:
        raise PeftCorrError(
            f"{path} cannot be read as predictions ({_first_line(error)}): it is damaged, or a column has "
            "another type."
        ) from error
    if not sound:
        raise PeftCorrError(f"{path} was changed after it was written: bring back the file, or run it again.")
    gaps = [name for name in needed if table.column(name).null_count]
    if gaps:
        raise PeftCorrError(f"{path}: the column {gaps[0]} has empty values, so it cannot be scored.")
    return table


def _first_line(error: Exception) -> str:
    return shortened((str(error).strip() or type(error).__name__).splitlines()[0], 200).rstrip(".")
