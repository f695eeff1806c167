"""Reading a pickle that holds numpy arrays in dicts and lists, without letting it run anything."""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from peftcorr.data.layouts.fields import reason
from peftcorr.errors import PeftCorrError

LARGEST = 16 << 30  # bytes of a file; what it holds comes to memory whole
_KINDS = "buif"  # truth values and real numbers; above all no objects
# What a dict may be keyed by. Hashing a tuple looks at all in it: 60 tuples that each hold the next one twice take for
# ever, a million in one another end the interpreter. Of numbers, as many as one likes can be made with the same hash.
_KEYS = (str, bytes)
_MOST_DIMENSIONS = 8

# What the pickles of arrays, dicts, lists, tuples, text, bytes and numbers are written with, in all protocols. Nothing
# here makes an instance of a class by itself (INST, OBJ, NEWOBJ), takes one from outside (PERSID, EXT) or adds to sets.
_OPCODES = (
    pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.NONE,
    pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG,
    pickle.LONG1, pickle.LONG4, pickle.FLOAT, pickle.BINFLOAT, pickle.UNICODE, pickle.BINUNICODE,
    pickle.SHORT_BINUNICODE, pickle.BINUNICODE8, pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8,
    pickle.BYTEARRAY8, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
    pickle.EMPTY_LIST, pickle.LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.DICT,
    pickle.SETITEM, pickle.SETITEMS, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE,
    pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE,
    pickle.BUILD,
)  # fmt: skip

_CORES = ("numpy.core", "numpy._core")  # numpy 1 and 2


def load_arrays(path: Path, largest: int = LARGEST) -> Any:
    """Read a pickle that holds dicts, lists, tuples, text, bytes, numbers and numpy arrays of numbers.

    The keys of dicts are text or bytes.

    Arrays come back read-only where their memory is the file's. Nothing that the file names is imported: the few
    functions by which numpy's pickles make arrays are stood in for by checked ones of this module.

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
        with path.open("rb") as stream:
            return _ArrayUnpickler(stream, size).load()
    except OSError as error:
        raise PeftCorrError(f"Cannot read {path}: {error.strerror or error}.") from error
    except PeftCorrError:
        raise
    except KeyError as error:  # an opcode that is not admitted, or a memo that was never written
        raise PeftCorrError(
            f"{path} is no pickle of numpy arrays alone (code {str(error)[:40]}): get it again."
        ) from error
    except Exception as error:  # a damaged or hostile pickle makes the unpickler raise anything
        raise PeftCorrError(
            f"{path} is no pickle of numpy arrays alone ({reason(error)}): get it again."
        ) from error


class _Stand:
    """Stands for a global that a pickle names; unlike a function it has no attribute that a pickle could set."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any] | None = None):
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            raise pickle.UnpicklingError("it calls what is no function")
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes what it names")


class _Type:
    """A dtype under construction: of numbers, in this machine's byte order."""

    __slots__ = ("dtype",)

    def __init__(self, name: object, *flags: object):
        if not isinstance(name, str) or len(name) > 8:
            raise pickle.UnpicklingError("a dtype without a name")
        dtype = np.dtype(name)
        if dtype.kind not in _KINDS or dtype.itemsize > 16 or not dtype.isnative:
            raise pickle.UnpicklingError(f"an array of dtype {name}, not of this machine's numbers")
        self.dtype = dtype

    def __setstate__(self, state: Any) -> None:
        order, *rest = state[1:]
        if order not in ("<", "|", "=") or any(part is not None for part in rest[:3]):
            raise pickle.UnpicklingError("a dtype with fields, or in another machine's byte order")


class _Array(np.ndarray):
    """An array under construction; what sets its state has been checked."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        if self.ndim != 1 or self.size or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("an array without its bytes")
        _check(kind, shape, len(raw))
        super().__setstate__((1, shape, kind.dtype, bool(fortran), raw))  # type: ignore[arg-type]


def _check(kind: object, shape: object, size: int) -> None:
    if not isinstance(kind, _Type):
        raise pickle.UnpicklingError("an array without a dtype")
    sound = isinstance(shape, tuple) and all(type(length) is int and length >= 0 for length in shape)
    if not isinstance(shape, tuple) or not sound or len(shape) > _MOST_DIMENSIONS:
        raise pickle.UnpicklingError("an array without a shape")
    if math.prod(shape) * kind.dtype.itemsize != size:
        raise pickle.UnpicklingError(f"an array of {size} bytes that should have the shape {shape}")


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
        self._room = (
            2 * size
        )  # bytes that arrays may take: text of an old protocol, then the array made of it

    def find_class(self, module: str, name: str) -> Any:
        """Return this module's stand-in; nothing is imported."""
        core = module.rpartition(".")[0]
        known: dict[tuple[str, str], _Stand] = {
            ("numpy", "ndarray"): _Stand(),
            ("numpy", "dtype"): _Stand(_Type),
            ("_codecs", "encode"): _Stand(self._encode),
        }
        if core in _CORES:
            known |= {
                (f"{core}.multiarray", "_reconstruct"): _Stand(self._reconstruct),
                (f"{core}.multiarray", "scalar"): _Stand(self._scalar),
                (f"{core}.numeric", "_frombuffer"): _Stand(self._from_buffer),
            }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known[module, name]

    def _reconstruct(self, kind: object, shape: object, letter: object) -> _Array:
        return _Array((0,), np.uint8)

    def _from_buffer(self, raw: object, kind: Any, shape: Any, order: object, axes: Any = None) -> Any:
        if not isinstance(raw, bytes) or order not in ("C", "F", "K"):
            raise pickle.UnpicklingError("an array without its bytes")
        _check(kind, shape, len(raw))
        array = np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if order == "F" else "C")
        # Since numpy 2.3 the axes of an array may be stored in the order that its memory has them in.
        return array if axes is None else array.transpose(axes)

    def _scalar(self, kind: Any, raw: object) -> Any:
        if not isinstance(raw, bytes):
            raise pickle.UnpicklingError("a number without its bytes")
        _check(kind, (), len(raw))
        return np.frombuffer(raw, kind.dtype)[0]

    def _encode(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("text in another encoding than numpy's")
        self._room -= len(text)
        if self._room < 0:
            raise pickle.UnpicklingError("more bytes than the file has")
        return text.encode("latin1")

    def load_bytearray8(self) -> None:
        """Read what protocol 5 writes contiguous arrays as; the base class clears the memory before it reads."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(length))

    def load_dict(self) -> None:
        """Make a dict of what lies above the mark."""
        items = self.pop_mark()
        self.append({})
        self._enter(items)

    def load_setitem(self) -> None:
        """Enter the topmost key and value in the dict below them."""
        items = self.stack[-2:]
        del self.stack[-2:]
        self._enter(items)

    def load_setitems(self) -> None:
        """Enter what lies above the mark in the dict below it."""
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
        **{code: load for code, load in pickle._Unpickler.dispatch.items() if bytes([code]) in _OPCODES},
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }
