"""Work on many things at once, and on half as many each time that memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from accelerate.utils import find_executable_batch_size

from peftcorr.errors import is_memory

T = TypeVar("T")


class Halving:
    """How many things of a kind are done at once: as many as come, until memory runs out.

    Args:
        what: is done, with ``{}`` for how many at once, as a line says it.
        say: prints a line.

    Attributes:
        most: how many are done at once at most; None as long as memory has not run out.
    """

    def __init__(self, what: str, say: Callable[[str], None]):
        self._what, self._say = what, say
        self.most: int | None = None

    def run(self, count: int, attempt: Callable[[int], T]) -> T:
        """Do `count` things: `attempt` is given how many at once, and must be able to begin anew with fewer.

        Raises:
            RuntimeError, MemoryError: if there is no room for one.
        """
        most = count if self.most is None else min(count, self.most)
        try:
            return attempt(most)
        except (RuntimeError, MemoryError) as error:
            if most < 2 or not is_memory(error):
                raise
        # Not in the handler, whose traceback would keep what filled the memory.

        def again(fewer: int) -> T:
            last = self.most if self.most is not None and self.most < count else most
            self.most = fewer
            self._say(f"Memory ran out {self._what.format(last)}: going on with {fewer} at a time.")
            return attempt(fewer)

        found: T = find_executable_batch_size(again, most // 2, self._half)()
        return found

    def _half(self) -> int:
        assert self.most is not None
        if self.most == 1:
            raise MemoryError(f"Out of memory {self._what.format(1)}")
        return self.most // 2


def slices(count: int, most: int) -> Iterator[slice]:
    """`count` things, `most` at a time."""
    return (slice(start, start + most) for start in range(0, count, most))
