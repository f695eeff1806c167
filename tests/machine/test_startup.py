from __future__ import annotations

import gc

import pytest

from peftcorr.machine.startup import importing


def test_what_is_made_in_the_block_is_never_looked_through_again() -> None:
    gc.unfreeze()
    with importing():
        assert not gc.isenabled()
        kept = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(kept)
    gc.unfreeze()


def test_collecting_goes_on_after_an_error() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()
    gc.unfreeze()
