"""Numeric arrays of MATLAB files, as annotation of the Proposal Flow datasets has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from peftcorr.errors import PeftCorrError

_NUMBERS = {
    "double",
    "single",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


def read_numbers(path: Path, variable: str) -> NDArray[np.float64]:
    """Read one array of numbers as float64, of whatever shape it has.

    Raises:
        PeftCorrError: if the file is no MATLAB file, has no such variable, or it holds no real numbers.
    """
    try:
        # The headers alone first: scipy follows cells in cells without a limit, and the interpreter dies of deep ones.
        kinds = {kind for name, _, kind in whosmat(path) if name == variable}
        content = loadmat(path, variable_names=[variable]) if kinds and kinds <= _NUMBERS else {}
    except FileNotFoundError:
        raise PeftCorrError(f"The annotation {path} is missing.") from None
    except Exception as error:  # scipy raises errors of a dozen kinds on damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PeftCorrError(f"{path} is no readable MATLAB file ({reason}).") from error
    if kinds - _NUMBERS:
        raise PeftCorrError(f"{path}: {variable} holds {min(kinds - _NUMBERS)} values; it must hold numbers.")
    if variable not in content:
        raise PeftCorrError(f"{path}: the variable {variable} is missing.")
    values = np.asarray(content[variable])
    if values.dtype.kind not in "iuf":
        raise PeftCorrError(f"{path}: {variable} holds {values.dtype.name} values; it must hold numbers.")
    return values.astype(np.float64)


def shape_of(values: NDArray[np.float64]) -> str:
    """A shape as it is told to people: ``2 x 10``."""
    return " x ".join(str(length) for length in values.shape)
