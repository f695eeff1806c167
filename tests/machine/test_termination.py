from __future__ import annotations

import os
import signal
import threading

import pytest

from peftcorr.machine.termination import Terminated, asked, held, listening


def end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def work(done: list[str]) -> None:
    with held():
        with held():
            end()
            done.append("inner")
        done.append("outer")
    done.append("after")


def fail() -> None:
    with held():
        end()
        raise KeyError


def test_sigterm_ends_what_is_under_way() -> None:
    before = signal.getsignal(signal.SIGTERM)
    gone_on = False
    with pytest.raises(Terminated), listening():
        gone_on = end() is None
    assert not gone_on
    assert signal.getsignal(signal.SIGTERM) is before
    assert not asked()


def test_a_held_block_is_not_left_half_done() -> None:
    done: list[str] = []
    with listening():
        with pytest.raises(Terminated):
            work(done)
        assert asked()
        end()  # a second one changes nothing: a state may be on its way to the disk
        done.append("saved")
    assert done == ["inner", "outer", "saved"]


def test_an_error_in_a_held_block_is_not_hidden() -> None:
    with listening(), pytest.raises(KeyError):
        fail()


def test_a_thread_hears_no_signals() -> None:
    done = []

    def listen() -> None:
        with listening():
            done.append(1)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert done == [1]
