from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from peftcorr.machine.claim import Claim

HOLD = """
import sys, time
from pathlib import Path
from peftcorr.machine.claim import Claim
claim = Claim(Path(sys.argv[1]))
print(claim.take(), flush=True)
time.sleep(600)
"""


def test_one_has_it_at_a_time_and_nothing_is_left(tmp_path: Path) -> None:
    one, other = Claim(tmp_path / "claim"), Claim(tmp_path / "claim")
    assert one.take()
    assert not other.take()
    one.give_back()
    assert other.take()
    other.give_back()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_has_it_no_more(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "claim"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    claim = Claim(tmp_path / "claim")
    assert not claim.take()
    holder.kill()
    holder.communicate()
    assert claim.take()
    claim.give_back()


def test_many_that_give_it_back_and_take_it_never_have_it_together(tmp_path: Path) -> None:
    """The file is deleted each time: who waits for the old one must not take it for the new one."""
    inside, most, rounds = [0], [0], 100

    def work() -> None:
        for _ in range(rounds):
            claim = Claim(tmp_path / "claim")
            while not claim.take():
                pass
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1
            claim.give_back()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert list(tmp_path.iterdir()) == []
