"""Half as many at once, each time that memory runs out, and a line that says so."""

from __future__ import annotations

import pytest
import torch

from peftcorr.errors import is_memory
from peftcorr.machine.halving import Halving, slices


def full() -> RuntimeError:
    """What torch raises when the CPU has no room."""
    return RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
    )


@pytest.mark.parametrize(
    "error", [full(), torch.OutOfMemoryError("CUDA out of memory. Tried to"), MemoryError()]
)
def test_halves_until_it_fits_and_remembers(error: Exception) -> None:
    said: list[str] = []
    tried: list[int] = []
    halving = Halving("encoding {} images at once", said.append)

    def attempt(most: int) -> int:
        tried.append(most)
        if most > 4:
            raise error
        return most

    if isinstance(error, MemoryError):  # Python's own is not among those that Accelerate goes on from twice
        assert halving.run(8, attempt) == 4
        assert tried == [8, 4]
        return
    assert halving.run(16, attempt) == 4
    assert tried == [16, 8, 4]
    assert [line.split("images")[0] for line in said] == [
        "Memory ran out encoding 16 ",
        "Memory ran out encoding 8 ",
    ]
    assert halving.run(16, attempt) == 4
    assert halving.run(2, attempt) == 2
    assert tried == [16, 8, 4, 4, 2]
    assert len(said) == 2


def test_no_room_for_one_is_out_of_memory() -> None:
    def attempt(most: int) -> None:
        raise full()

    with pytest.raises((MemoryError, RuntimeError)) as caught:
        Halving("encoding {} images at once", lambda line: None).run(4, attempt)
    assert is_memory(caught.value)


def test_other_errors_are_not_tried_again() -> None:
    tried = []

    def attempt(most: int) -> None:
        tried.append(most)
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        Halving("encoding {} images at once", lambda line: None).run(4, attempt)
    assert tried == [4]


def test_slices_cover_everything() -> None:
    assert [len(range(7)[part]) for part in slices(7, 3)] == [3, 3, 1]
