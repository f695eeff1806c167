"""Honest pickles of every protocol and numpy come back to the last bit; everything else is refused unrun."""

from __future__ import annotations

import collections
import datetime
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftcorr.data.layouts.restricted_pickle import load_arrays
from peftcorr.errors import PeftCorrError


def content() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "video": rng.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8),
        "points": rng.random((4, 3, 2)),
        "single": rng.random((4, 3), dtype=np.float32),
        "fortran": np.asfortranarray(rng.random((40, 30))),
        "strided": rng.random((40, 30))[:, ::3],
        "transposed": rng.random((6, 5, 4)).transpose(1, 0, 2),
        "occluded": rng.random((4, 3)) > 0.5,
        "encoded": np.array([b"\xff\xd8\x00ab", b"\xff\xd8"]),
        "scalar": np.float64(0.1),
        "flag": np.bool_(True),
        "number": np.int64(-3),
        "plain": [1, -(10**12), 0.25, "ä", b"\x00\xff", None, True, (1, 2), {"a": []}],
    }


def save(folder: Path, data: bytes) -> Path:
    path = folder / "videos.pkl"
    path.write_bytes(data)
    return path


def refuse(folder: Path, data: bytes, reason: str | None = None) -> None:
    with pytest.raises(PeftCorrError, match=reason) as caught:
        load_arrays(save(folder, data))
    assert str(caught.value).startswith(str(folder / "videos.pkl"))
    assert "\n" not in str(caught.value)


def as_numpy_1(data: bytes) -> bytes:
    """The same pickle of protocol 2, as numpy 1 names its modules."""
    assert b"numpy._core." in data
    return data.replace(b"numpy._core.", b"numpy.core.")


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, np.ndarray):
        assert isinstance(found, np.ndarray)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.asarray(found).tobytes() == expected.tobytes()
    else:
        assert found == expected
        assert type(found) is type(expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    expected = content()
    assert_same(load_arrays(save(tmp_path, pickle.dumps(expected, protocol))), expected)


@pytest.mark.parametrize("protocol", [0, 2, 3])
def test_pickles_of_numpy_1_are_read(tmp_path: Path, protocol: int) -> None:
    expected = content()
    assert_same(load_arrays(save(tmp_path, as_numpy_1(pickle.dumps(expected, protocol)))), expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_array_that_is_named_twice_is_there_twice(tmp_path: Path, protocol: int) -> None:
    points = np.arange(6.0).reshape(2, 3)
    expected = {"one": points, "other": points}
    assert_same(load_arrays(save(tmp_path, pickle.dumps(expected, protocol))), expected)


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Plain:
    """Pickles as a class of this module."""


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    "function", [os.system, eval, exec, getattr, __import__, np.load, np.frombuffer, print, bytearray, type]
)
def test_functions_are_not_called(tmp_path: Path, protocol: int, function: Any) -> None:
    mark = tmp_path / "ran"
    data = pickle.dumps({"video": Call(function, f"touch {mark}")}, protocol)
    refuse(tmp_path, data, "it names")
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(
    "value",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.zeros(3, dtype=[("a", "i4"), ("b", "O")]),
        np.zeros(3, dtype=[("a", "i4")]),
        np.array(["text"]),
        np.zeros(3, dtype="V8"),
        np.zeros(3, dtype="datetime64[s]"),
        np.zeros(300, dtype=complex),
        np.zeros(300, dtype=">f8"),
        np.ma.masked_array(np.arange(3.0), mask=[0, 1, 0]),
        np.zeros((3, 3)).view(np.matrix),
        Plain(),
        Plain,
        {1, 2},
        frozenset([1]),
        collections.OrderedDict(a=1),
        collections.defaultdict(list),
        datetime.date(2022, 11, 7),
        1j,
        slice(3),
        Path("/etc"),
        range(3),
    ],
    ids=lambda value: type(value).__name__ + str(getattr(value, "dtype", "")),
)
def test_whatever_is_no_plain_array_is_refused(tmp_path: Path, protocol: int, value: Any) -> None:
    refuse(tmp_path, pickle.dumps({"video": value}, protocol), "no pickle of numpy arrays alone")


@pytest.mark.parametrize("protocol", [2, 5])
def test_every_truncation_is_refused(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps(
        {"points": np.arange(60.0).reshape(3, 20), "occluded": np.zeros((3, 20), bool)}, protocol
    )
    for length in [*range(0, 200, 7), *range(len(data) - 40, len(data))]:
        refuse(tmp_path, data[:length])


@pytest.mark.parametrize("protocol", [2, 5])
def test_mutated_bytes_never_trace_back(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps(
        {"points": np.arange(6.0).reshape(3, 2), "occluded": np.zeros((3, 2), bool)}, protocol
    )
    rng = np.random.default_rng(protocol)
    refused = 0
    for _ in range(400):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        try:
            load_arrays(save(tmp_path, bytes(changed)))
        except PeftCorrError:
            refused += 1
    assert 200 < refused < 400


GLOBAL_DTYPE = b"cnumpy\ndtype\n"
HUGE = 1 << 45


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        b"\x80\x09.",
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo number that would clear 32 GB
        b"\x80\x05\x8e" + struct.pack("<Q", HUGE) + b"x.",  # bytes of 32 TB
        b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b"x.",
        b"\x80\x05\x8d" + struct.pack("<Q", HUGE) + b"x.",
        b"\x80\x05\x95" + struct.pack("<Q", HUGE) + b"N.",  # a frame of 32 TB
        b"\x80\x02" + GLOBAL_DTYPE + b"}(X\x05\x00\x00\x00_callK\x01ub.",  # sets an attribute of what it names
        b"\x80\x02" + GLOBAL_DTYPE + b"N}(X\x05\x00\x00\x00_callK\x01u\x86b.",
        b"\x80\x02" + GLOBAL_DTYPE + b")\x81.",  # an instance without a call of __init__
        b"\x80\x02cnumpy\nndarray\n)R.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct.os\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0acore.array\x93.",
        b"(ios\nsystem\n.",
        b"\x80\x02\x82\x01.",  # an extension
        b"Pname\n.",  # something from outside
    ],
)  # fmt: skip
def test_hostile_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    if data == b"\x80\x02K\x01r\xff\xff\xff\x7f.":
        assert load_arrays(save(tmp_path, data)) == 1  # harmless where memos are kept by number
    else:
        refuse(tmp_path, data)
    assert_same(load_arrays(save(tmp_path, pickle.dumps(content(), 2))), content())


def array_state(shape: Any, raw: bytes, fortran: bool = False, name: str = "f8", order: str = "<") -> bytes:
    """A pickle of protocol 3 of one array with any state."""
    dtype = Call(np.dtype, name, False, True)
    data = pickle.dumps(("numpy", shape, dtype, fortran, raw), 3)
    head = b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    # the state of the dtype is left out: numpy writes "<" there and nothing of use
    body = pickletools.optimize(data)[2:-1]
    assert order == "<"
    return head + body.replace(b"X\x05\x00\x00\x00numpy", b"K\x01") + b"b."


def test_an_array_by_its_state_alone(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(2, 3)
    assert_same(load_arrays(save(tmp_path, array_state((2, 3), values.tobytes()))), values)


@pytest.mark.parametrize(
    "data",
    [
        array_state((2, 4), b"\0" * 48),
        array_state((-2, -3), b"\0" * 48),
        array_state((1 << 62, 4), b"\0" * 48),
        array_state((2.0, 3), b"\0" * 48),
        array_state(6, b"\0" * 48),
        array_state((6,) + (1,) * 40, b"\0" * 48),
        array_state((6,), [0.0] * 6),  # type: ignore[arg-type]
        array_state((6,), b"\0" * 48, name="O"),
        array_state((6,), b"\0" * 48, name="f8,O"),
        array_state((48,), b"\0" * 48, name="V1"),
        b"\x80\x03cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\0\0\0f8\x85RC\x10"
        + b"\0" * 16
        + b"\x86R.",
    ],
)
def test_arrays_that_contradict_their_state_are_refused(tmp_path: Path, data: bytes) -> None:
    refuse(tmp_path, data)


def test_one_text_is_not_made_bytes_without_end(tmp_path: Path) -> None:
    """Each call would be five bytes in the file and a megabyte in memory."""
    text = "x" * 1_000_000
    named = b"X" + struct.pack("<I", len(text)) + text.encode()
    once = b"c_codecs\nencode\nq\x00" + named + b"q\x01X\x06\x00\x00\x00latin1q\x02000"
    data = b"\x80\x02](" + once + b"h\x00h\x01h\x02\x86R" * 50 + b"e."
    refuse(tmp_path, data, "more bytes than the file has")


@pytest.mark.parametrize("axes", [(0, 0), (0,), (0, 2), "ab", 1 << 70])
def test_axes_that_are_no_order_are_refused(tmp_path: Path, axes: Any) -> None:
    def named(chosen: Any) -> bytes:
        call = Call(np._core.numeric._frombuffer, b"\0" * 48, Call(np.dtype, "f8"), (2, 3), "K", chosen)
        return pickle.dumps(call, 3)

    assert load_arrays(save(tmp_path, named((1, 0)))).shape == (3, 2)
    refuse(tmp_path, named(axes))


def test_another_machines_numbers_are_refused(tmp_path: Path) -> None:
    call = Call(np._core.numeric._frombuffer, b"\0" * 48, Call(np.dtype, ">f8"), (6,), "C")
    refuse(tmp_path, pickle.dumps(call, 3), "not of this machine's numbers")


def test_a_large_file_is_not_opened(tmp_path: Path) -> None:
    path = save(tmp_path, pickle.dumps({"a": np.zeros(100)}))
    size = path.stat().st_size
    assert load_arrays(path, size)["a"].shape == (100,)
    with pytest.raises(PeftCorrError, match=f"has {size} bytes, more than the {size - 1} that are read"):
        load_arrays(path, size - 1)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"Cannot read .*none\.pkl: No such file"):
        load_arrays(tmp_path / "none.pkl")


def test_a_list_that_holds_itself_is_read_as_it_is(tmp_path: Path) -> None:
    ring: list[Any] = []
    ring.append(ring)
    found = load_arrays(save(tmp_path, pickle.dumps(ring)))
    assert found[0] is found


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("more", [{}, {"b": 2}])
def test_keys_are_text_and_bytes(tmp_path: Path, protocol: int, more: dict[Any, Any]) -> None:
    expected = {"a": 1, b"a": 2, **more}
    assert_same(load_arrays(save(tmp_path, pickle.dumps(expected, protocol))), expected)
    for key in (("clip", 1), (), None, 3, 0.5, np.float64(0.5)):
        data = pickle.dumps({"videos": {key: np.zeros(2), **more}}, protocol)
        refuse(tmp_path, data, f"a dict with a key of type {type(key).__name__}")


@pytest.mark.parametrize("enter", [b"K\x01s.", b"K\x01u."], ids=["one item", "items"])
@pytest.mark.parametrize("deep", [True, False])
def test_keys_that_could_not_be_hashed(tmp_path: Path, deep: bool, enter: bytes) -> None:
    """So many tuples in one another would end the interpreter; 60 that hold the next twice are 2^60 to look at."""
    twice = b"".join(bytes([pickle.BINPUT[0], n, pickle.BINGET[0], n, pickle.TUPLE2[0]]) for n in range(60))
    key = b")" + (b"\x85" * 200_000 if deep else twice)
    mark = b"(" if enter[-2:-1] == b"u" else b""
    refuse(tmp_path, b"\x80\x02}" + mark + key + enter, "a dict with a key of type tuple")


def test_items_go_into_dicts_alone(tmp_path: Path) -> None:
    array = array_state((2, 3), bytes(48))
    refuse(tmp_path, array[:-1] + b"K\x00K\x01s.", "items of what is no dict")
    refuse(tmp_path, b"\x80\x02]K\x05aK\x00K\x01s.", "items of what is no dict")
    refuse(tmp_path, b"\x80\x02}(K\x00K\x01K\x02u.")
