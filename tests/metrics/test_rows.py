"""Rows of a table by split and predictor, wherever they stand in it."""

from __future__ import annotations

from itertools import product

import pyarrow as pa
import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.rows import codes, groups
from tests.metrics.made import row, table


@pytest.mark.parametrize("length", [1, 2, 4, 5])
def test_each_predictor_has_its_own_rows_in_their_order(length: int) -> None:
    """A run's own stand together, and are a view; those of tables joined by hand may not."""
    for order in product("ab", repeat=length):
        made = table([row(predictor=name, pair=number) for number, name in enumerate(order)])
        found = {predictor: rows.column("pair").to_pylist() for (*_, predictor), rows in groups(made)}
        assert found == {
            name: [number for number, other in enumerate(order) if other == name] for name in set(order)
        }


def test_datasets_and_splits_are_apart() -> None:
    made = table(
        [row(dataset=d, split=s, pair=n) for n, (d, s) in enumerate(product(("x", "y"), ("val", "test")))]
    )
    assert [(key, rows.column("pair").to_pylist()) for key, rows in groups(made)] == [
        (("x", "val", "argmax"), [0]), (("x", "test", "argmax"), [1]),
        (("y", "val", "argmax"), [2]), (("y", "test", "argmax"), [3]),
    ]  # fmt: skip
    with pytest.raises(PeftCorrError, match="no keypoints to score"):
        list(groups(made.slice(0, 0)))


def test_codes_are_of_the_sorted_strings() -> None:
    names, found = codes(pa.chunked_array([["b", "a"], ["c", "a", "b"]]))
    assert (names.tolist(), found.tolist()) == (["a", "b", "c"], [1, 0, 2, 0, 1])
