from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from peftcorr.machine.startup import announce, importing, quiet_libraries
from peftcorr.machine.termination import Terminated, listening


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


def test_no_terminal_no_line_of_importing(capsys: pytest.CaptureFixture[str]) -> None:
    with importing():
        pass
    gc.unfreeze()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("rank", "said"), [(None, True), ("0", True), ("1", False)])
def test_one_process_announces(
    rank: str | None, said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    announce()
    assert ("loading libraries" in capsys.readouterr().out) == said


def test_libraries_draw_no_bars_once_they_were_asked() -> None:
    code = (
        "from peftcorr.machine.startup import quiet_libraries; quiet_libraries()\n"
        "import datasets, tqdm, transformers.utils.logging as logging, huggingface_hub.utils as hub\n"
        "for bar in (tqdm.tqdm, tqdm.auto.tqdm, hub.tqdm, logging.tqdm):\n"
        "    list(bar(range(3), desc='a bar'))\n"
        "datasets.Dataset.from_dict({'a': [1, 2]}).map(lambda row: row)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_user_asks_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"TQDM_DISABLE": "0"})
    quiet_libraries()
    assert os.environ["TQDM_DISABLE"] == "0"
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


def swallow(then: Exception | None) -> None:
    """Import a library that catches whatever is raised meanwhile, and perhaps fails for it."""
    with listening(), importing():
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        if then is not None:
            raise then


@pytest.mark.parametrize("then", [None, RecursionError()])
def test_sigterm_that_a_library_swallows_in_its_import_ends_the_process(then: Exception | None) -> None:
    with pytest.raises(Terminated):
        swallow(then)


def fail_to_import() -> None:
    with listening(), importing():
        raise ImportError


def test_what_goes_wrong_in_an_import_is_said_as_it_is() -> None:
    with pytest.raises(ImportError):
        fail_to_import()
