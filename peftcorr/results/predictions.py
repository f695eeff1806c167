"""Every prediction of a run in one Parquet file: any threshold or aggregate is scored from it alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from peftcorr.errors import PeftCorrError
from peftcorr.results.store import atomic_path

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
        (
            "viewpoint_variation",
            pa.int8(),
        ),  # of the pair, as SPair-71k grades it; null where a dataset does not
        ("scale_variation", pa.int8()),
        ("truncation", pa.int8()),
        ("occlusion", pa.int8()),
    ]
)


def write_predictions(table: pa.Table, path: Path) -> None:
    """Write `table` (columns of `PREDICTION_SCHEMA`) to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        pq.write_table(table.cast(PREDICTION_SCHEMA), temporary, compression="zstd")


def read_predictions(path: Path) -> pa.Table:
    """Read what `write_predictions` wrote; columns that an older file lacks are null.

    Raises:
        PeftCorrError: if there is no such file, it is no Parquet file, or a column has another type.
    """
    try:
        return pq.read_table(path, schema=PREDICTION_SCHEMA)
    except FileNotFoundError as error:
        raise PeftCorrError(f"There is no predictions file {path}.") from error
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise PeftCorrError(f"{path} is no file of predictions that a run wrote: {reason}") from error
