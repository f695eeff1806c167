"""The seconds before a run begins: what takes long to import, and what can be done meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import torch and what stands on it in the block, without looking for garbage among what stays for ever.

    Millions of objects are made that live as long as the process. Looking through them again and again takes a fifth
    of the imports' time, and once more, at exit, a second.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
