"""Reading a pickle that holds numpy arrays in dicts and lists, without letting it run anything."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from peftcorr.errors import PeftCorrError, reason
from peftcorr.files.reading import opened
from peftcorr.files.signatures import what_lies_at

LARGEST = 16 << 30  # bytes of a file; what it holds comes to memory whole
_KINDS = "buif"  # truth values and real numbers; above all no objects
_TEXT = "S"  # bytes, of one length, as TAP-Vid stores encoded frames
# What a dict may be keyed by. Hashing a tuple looks at all in it: 60 tuples that each hold the next one twice take for
# ever, a million in one another end the interpreter. Of numbers, as many as one likes can be made with the same hash.
_KEYS = (str, bytes)
_MOST_DIMENSIONS = 8

# What the pickles of arrays, dicts, lists, tuples, text, bytes and numbers are written with, in all protocols. Nothing
# here makes an instance of a class by itself (INST, OBJ, NEWOBJ), takes one from outside (PERSID, EXT) or adds to sets.
_NAMES = """
    PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT
    BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS PUT
    BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD
"""
_OPCODES = {getattr(pickle, name)[0] for name in _NAMES.split()}


def load_arrays(path: Path, largest: int = LARGEST) -> Any:
    """Read a pickle that holds dicts, lists, tuples, text, bytes, numbers and numpy arrays of numbers or bytes.

    The keys of dicts are text or bytes.

    Arrays come back read-only where their memory is the file's. Nothing that the file names is imported: an allow-list
    gives checked functions of this module for the few by which numpy's pickles make arrays.

    Args:
        path: the file.
        largest: bytes that it may have.

    Raises:
        PeftCorrError: if the file is missing, larger, cut short, or holds or asks for anything else.
    """
    try:
        size = path.stat().st_size
        if size > largest:
            raise PeftCorrError(
                f"{path} has {size:,} bytes, more than the {largest:,} that are read: is it the file that was "
                "published?"
            )
        with opened(path) as stream:
            return _ArrayUnpickler(stream, size).load()
    except OSError as error:
        raise PeftCorrError(f"Cannot read {path}: {error.strerror or error}.") from error
    except PeftCorrError:
        raise
    except Exception as error:  # a damaged or hostile pickle makes the unpickler raise anything
        what = "an unknown code" if isinstance(error, KeyError) else reason(error)
        known = what_lies_at(path)
        raise PeftCorrError(
            f"{path} is no pickle of numpy arrays alone{f': {known}' if known else f' ({what}): get it again'}."
        ) from error


class _ArrayUnpickler(pickle._Unpickler):
    """The unpickler in Python: that in C clears as much memory as the number of a memo in the file says.

    Array data outweighs all else in such a file by far, and is read in one piece either way.
    """

    read: Callable[[int], bytes]  # these three are set while it loads
    append: Callable[[object], None]
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]  # of the base class, which the type checker does not know all of

    def __init__(self, stream: Any, size: int):
        super().__init__(stream)
        # Bytes that arrays may take: text of an old protocol, then the array made of it.
        self._room = 2 * size

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands here for a global that numpy's pickles name; nothing is imported."""
        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): None,  # is named alone, not called
            ("numpy", "dtype"): _dtype,
            ("_codecs", "encode"): self._encode,
            ("numpy.core.multiarray", "_reconstruct"): lambda *arguments: np.empty(0, np.uint8),
            ("numpy.core.multiarray", "scalar"): lambda dtype, raw: _array(raw, dtype, ())[()],
            ("numpy.core.numeric", "_frombuffer"): _array,
        }
        asked = module.replace("numpy._core.", "numpy.core."), name  # numpy 2 and 1
        if asked not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known[asked]

    def _encode(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("text in another encoding than numpy's")
        self._room -= len(text)
        if self._room < 0:
            raise pickle.UnpicklingError("more bytes than the file has")
        return text.encode("latin1")

    def _load_build(self) -> None:
        """Set the state of a dtype or of an empty array; the base class sets that of whatever a pickle names."""
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, np.dtype):  # one that all share, and that has its state
            if state[1] not in ("<", "|", "=") or any(part is not None for part in state[2:5]):
                raise pickle.UnpicklingError("a dtype with fields, or in another machine's byte order")
        elif isinstance(made, np.ndarray) and not made.size:
            _, shape, dtype, fortran, raw = state
            _array(raw, dtype, shape)
            # in place, for it may be named again
            made.__setstate__((1, shape, dtype, bool(fortran), raw))  # type: ignore[arg-type]
        else:
            raise pickle.UnpicklingError("it changes what it names")

    def _load_bytearray8(self) -> None:
        """Read what protocol 5 writes contiguous arrays as; the base class clears the memory before it reads."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(length))

    def _load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._enter(items)

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._enter([key, value])

    def _load_setitems(self) -> None:
        self._enter(self.pop_mark())

    def _enter(self, items: list[Any]) -> None:
        """Enter keys and values, by turns, in the dict at the top; the base class takes any key and any object."""
        goal = self.stack[-1]
        if type(goal) is not dict:
            raise pickle.UnpicklingError("items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _KEYS):
                raise pickle.UnpicklingError(f"a dict with a key of type {type(key).__name__}")
            goal[key] = value

    dispatch: ClassVar[dict[int, Any]] = {
        **{code: load for code, load in pickle._Unpickler.dispatch.items() if code in _OPCODES},
        pickle.BUILD[0]: _load_build,
        pickle.BYTEARRAY8[0]: _load_bytearray8,
        pickle.DICT[0]: _load_dict,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
    }


def _dtype(name: object, *flags: object) -> np.dtype[Any]:
    """A dtype of numbers in this machine's byte order, or of bytes."""
    if not isinstance(name, str) or len(name) > 8:
        raise pickle.UnpicklingError("a dtype without a name")
    dtype = np.dtype(name)
    if dtype.kind == _TEXT and dtype.itemsize and name == f"{_TEXT}{dtype.itemsize}":
        return dtype
    if dtype.kind not in _KINDS or dtype.itemsize > 16 or not dtype.isnative:
        raise pickle.UnpicklingError(f"an array of dtype {name}, not of this machine's numbers")
    return dtype


def _array(raw: object, dtype: object, shape: object, order: object = "C", axes: Any = None) -> Any:
    """An array on the bytes `raw`, which must be as many as dtype and shape say."""
    if not isinstance(raw, bytes) or not isinstance(dtype, np.dtype) or order not in ("C", "F", "K"):
        raise pickle.UnpicklingError("an array without its bytes or its dtype")
    sound = isinstance(shape, tuple) and all(type(length) is int and length >= 0 for length in shape)
    if not isinstance(shape, tuple) or not sound or len(shape) > _MOST_DIMENSIONS:
        raise pickle.UnpicklingError("an array without a shape")
    array = np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C")
    # Since numpy 2.3 the axes of an array may be stored in the order that its memory has them in.
    return array if axes is None else array.transpose(axes)
