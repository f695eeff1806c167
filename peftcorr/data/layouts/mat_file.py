"""Numeric arrays of MATLAB files, as annotation of the Proposal Flow datasets has them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from peftcorr.errors import PeftCorrError, reason
from peftcorr.files.reading import read_bytes
from peftcorr.files.signatures import HEAD, what_it_is

_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NUMBERS = {"double", "single", "logical"} | _INTEGERS

# Of the format's data types (MathWorks, "MAT-File Format", level 5): whole numbers of 8 to 64 bits, single, double.
_NUMBER_TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800
_HEADER = 128  # bytes before the first element of a level 5 file
_LARGEST = 1 << 26  # bytes of one variable; annotation takes hundreds


def read_numbers(path: Path, variable: str) -> NDArray[np.float64]:
    """Read one array of numbers as float64, of whatever shape it has.

    Raises:
        PeftCorrError: if the file is no MATLAB file, has no such variable, or it holds no real numbers.
    """
    if not path.exists():
        raise PeftCorrError(f"The annotation {path} is missing.")
    raw = read_bytes(path)
    try:
        # The headers alone first: scipy follows cells in cells without a limit, and the interpreter dies of deep ones.
        kinds = {kind for name, _, kind in whosmat(io.BytesIO(raw)) if name == variable}
        if kinds and kinds <= _NUMBERS:
            _check_types(raw, variable)
            content = loadmat(io.BytesIO(raw), variable_names=[variable])
        else:
            content = {}
    except Exception as error:  # scipy raises errors of a dozen kinds on damaged files
        what = what_it_is(raw[:HEAD])
        raise PeftCorrError(
            f"{path} is no readable MATLAB file{f': {what}' if what else f' ({reason(error)})'}."
        ) from error
    if kinds - _NUMBERS:
        raise PeftCorrError(f"{path}: {variable} holds {min(kinds - _NUMBERS)} values; it must hold numbers.")
    if variable not in content:
        raise PeftCorrError(f"{path}: the variable {variable} is missing.")
    values = np.asarray(content[variable])
    if values.dtype.kind not in "iuf":
        raise PeftCorrError(f"{path}: {variable} holds {values.dtype.name} values; it must hold numbers.")
    return values.astype(np.float64)


def _check_types(raw: bytes, variable: str) -> None:
    """Raise ValueError if a variable's numbers are of no type that the format knows: scipy's reader dies of one."""
    order = {b"IM": "<", b"MI": ">"}.get(raw[126:_HEADER])
    if order is None:  # level 4 has no types to be wrong about
        return
    for kind, element in _elements(raw[_HEADER:], order, aligned=False):
        if kind == _COMPRESSED:
            kind, element = next(_elements(zlib.decompressobj().decompress(element, _LARGEST), order))
        if kind != _MATRIX:
            continue
        parts = _elements(element, order)
        (_, flags), _, (_, name), *values = parts
        if name.rstrip(b"\0") != variable.encode():
            continue
        count = 2 if struct.unpack_from(f"{order}I", flags)[0] & _COMPLEX else 1
        if len(values) < count or any(kind not in _NUMBER_TYPES for kind, _ in values[:count]):
            raise ValueError(f"{variable} is of an unknown type")


def _elements(raw: bytes, order: str, aligned: bool = True) -> Iterator[tuple[int, bytes]]:
    """Type and content of one data element after the other; ``aligned`` ones begin at multiples of eight bytes."""
    place = 0
    while place + 8 <= len(raw):
        kind, size = struct.unpack_from(f"{order}II", raw, place)
        begin = place + 8
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, size, begin = kind & 0xFFFF, kind >> 16, place + 4
        if begin + size > len(raw):
            raise ValueError("a part is longer than the file")
        yield kind, raw[begin : begin + size]
        place = max(begin + size, place + 8)
        place += -place % 8 if aligned else 0


def shape_of(values: NDArray[np.float64]) -> str:
    """A shape as it is told to people: ``2 x 10``."""
    return " x ".join(str(length) for length in values.shape)
