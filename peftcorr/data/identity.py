"""What a split is made of, as digests: its annotation as it was read, and the bytes of its images.

Neither a path nor a date is in them: a folder that was copied elsewhere has the same.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from peftcorr.data.base import PairDataset
from peftcorr.data.per_file import image_names, per_file
from peftcorr.errors import PeftCorrError
from peftcorr.files import digest, sha256


def annotation_digest(dataset: PairDataset) -> str:
    """Hash of every column of a split that means something.

    Neither the file that its table came from counts, nor how that is cut into chunks, nor the width of its numbers.
    """
    from peftcorr.data.columns import (
        PAIR_FEATURES,  # which brings a library that saved predictions do without
    )

    table = dataset.table.with_format("arrow")[:]
    schema = pa.schema([field for field in PAIR_FEATURES.arrow_schema if field.name in table.column_names])
    return table_digest(table.select(schema.names).cast(schema))


def table_digest(table: pa.Table) -> str:
    """Hash of every column, however the table is cut into chunks and whether texts are kept in a dictionary."""
    found = hashlib.sha256()
    for name in sorted(table.column_names):
        found.update(f"{name}\0{len(table)}\0".encode())
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        column = column.combine_chunks()
        _feed(found, column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return found.hexdigest()


def _feed(found: Any, array: pa.Array) -> None:
    """Add which values are null, then the values: numbers as they are, texts and lists with their lengths."""
    kind = array.type
    found.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        found.update(pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype("<i8"))
        _feed(found, array.flatten())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = pc.fill_null(array, "").cast(pa.large_string())
        ends = np.frombuffer(texts.buffers()[1], "<i8")[texts.offset : texts.offset + len(texts) + 1]
        found.update(np.diff(ends))
        if texts.buffers()[2] is not None and len(ends):
            found.update(memoryview(texts.buffers()[2])[ends[0] : ends[-1]])
    else:
        numbers = pc.fill_null(array, False if pa.types.is_boolean(kind) else 0)
        found.update(np.ascontiguousarray(numbers.to_numpy(zero_copy_only=False)))


def images_digest(dataset: PairDataset, cache: Path) -> str:
    """Hash of the names and bytes of a split's images.

    A file is hashed once: `cache` remembers its hash for as long as its size and its time of change stay the same.

    Raises:
        PeftCorrError: if an image cannot be read.
    """
    names = image_names(dataset)
    try:
        hashes = per_file(dataset.image_root, names, cache, "digests", sha256)
    except OSError as error:
        raise PeftCorrError(f"Cannot read the image {error.filename}: {error.strerror or error}.") from error
    return digest([[name, hashes[name]] for name in names])
