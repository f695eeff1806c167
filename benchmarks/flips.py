"""How many flipped bits change a score without a word: ``python benchmarks/flips.py``.

Small runs are made, with everything that a run leaves and reads again: records, predictions, adapters, the state of a
training that was stopped, a tuned predictor, and every cache. Then one bit at a time is flipped in one of their files,
whose date stays as it was, and what reads that file is called again. Writes ``leaderboard/flips.json`` and
``leaderboard/flips.md``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from findings import write_json
from sealing.kinds import Kind, all_kinds
from sealing.small_runs import make
from sealing.tampering import COMMANDS, Tampered, kept, rebuilt_renderings, tamper
from transformers.utils import logging

from peftcorr.console.numbers import MISSING
from peftcorr.errors import PeftCorrError
from peftcorr.files import atomic_path
from peftcorr.report.pipes import table
from peftcorr.results.verify import verify

Verdict = Literal["refused", "rebuilt", "harmless", "unnoticed", "unclear"]
_END = 256  # bytes at both ends of a file, where formats keep what the rest means


@dataclass
class Flipped:
    """What became of the flips in one kind of files.

    Attributes:
        refused: with a sentence that names the file.
        rebuilt: made anew by what read it, with the same result.
        harmless: the same result from the changed bytes, which mean what they meant.
        unnoticed: another result and not a word.
        unclear: an error that does not name the file.
        overlooked: not harmless, and yet not named by ``peftcorr verify``; None of files that are not in its folder.
    """

    kind: str
    reader: str
    files: int
    flips: int
    refused: int
    rebuilt: int
    harmless: int
    unnoticed: int
    unclear: int
    overlooked: int | None


def flip_bits(kind: Kind, flips: int, rng: np.random.Generator, output: Path, work: Path) -> Flipped:
    """Flip bits in files of one kind, one at a time, everything put back after each.

    Args:
        kind: whose files.
        flips: how many.
        rng: draws them.
        output: folder that ``peftcorr verify`` checks.
        work: folder where the files as they were lie meanwhile.
    """
    expected: dict[Path, object] = {}
    verdicts: Counter[Verdict] = Counter()
    verifies = kind.folder.is_relative_to(output)
    overlooked = 0
    for _ in range(flips):
        path = kind.files[rng.integers(len(kind.files))]
        if path not in expected:
            with kept(kind.folder, work / "kept"):
                expected[path] = kind.read(path)
        with kept(kind.folder, work / "kept"):
            changed = _flip(path, _place(path.stat().st_size, rng))
            named = [one.name for one in verify(output) if one.state == "changed"] if verifies else []
            verdict = _judged(kind, path, changed, expected[path])
        verdicts[verdict] += 1
        own = kind.unit(path).relative_to(output).as_posix() if verifies else ""
        overlooked += verdict != "harmless" and named != [own]
    return Flipped(
        kind.name,
        kind.reader,
        len(kind.files),
        flips,
        **{str(verdict): verdicts[verdict] for verdict in get_args(Verdict)},
        overlooked=overlooked if verifies else None,
    )


def _place(size: int, rng: np.random.Generator) -> int:
    """A bit of a file: every other time one near its beginning or end."""
    if rng.random() < 0.5 or size <= 2 * _END:
        return int(rng.integers(8 * size))
    bit = int(rng.integers(8 * 2 * _END))
    return bit if bit < 8 * _END else 8 * (size - 2 * _END) + bit


def _flip(path: Path, bit: int) -> bytes:
    """Flip a bit as a disk does: the file's date stays. Returns what the file holds now."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return bytes(content)


def _judged(kind: Kind, path: Path, changed: bytes, expected: object) -> Verdict:
    try:
        found = kind.read(path)
    except PeftCorrError as error:
        return "refused" if kind.unit(path).name in str(error) else "unclear"
    except Exception:  # of whatever kind: what names no file is what is looked for here
        return "unclear"
    if found != expected:
        return "unnoticed"
    return "harmless" if path.is_file() and path.read_bytes() == changed else "rebuilt"


@dataclass(frozen=True)
class Study:
    """What was found: by kind of files, by way of tampering, and by change of the renderings."""

    seed: int
    flipped: Sequence[Flipped]
    tampered: Sequence[Tampered]
    renderings: Mapping[str, bool]


def study(folder: Path, flips: int, seed: int) -> Study:
    """Make the runs in a new folder, then flip bits, equally many in each kind of files, and tamper.

    Args:
        folder: for the runs.
        flips: in all.
        seed: of the flips.
    """
    runs = make(folder)
    kinds, rng, flipped = all_kinds(runs), np.random.default_rng(seed), []
    for number, kind in enumerate(kinds):
        begun = time.monotonic()
        share = flips // len(kinds) + (number < flips % len(kinds))
        flipped.append(flip_bits(kind, share, rng, runs.output, runs.folder))
        print(f"{kind.name}: {share} flips in {time.monotonic() - begun:.1f} s", flush=True)
    return Study(seed, flipped, tamper(runs), rebuilt_renderings(runs))


_PAGE = """\
# Flipped bits

Of {flips:,} bits that were flipped, one at a time, in what small runs leave and read again, **{unnoticed}** changed a
result without a word: `python benchmarks/flips.py`. Half of the bits are anywhere in a file, half near its ends; the
file's date stays as it was.

{flipped}

- *refused*: with a sentence that names the file. *rebuilt*: made anew by itself, with the same result.
- *harmless*: the same result, since nothing depends on that bit. In Parquet it is in a statistic that is not read; with
  the cached features, in the text that `peftcorr cache ls` shows.
- *unnoticed*: another result. *unclear*: an error that does not name the file.
- *overlooked*: neither harmless nor named by `peftcorr verify`, which checks the output folder alone. It is also what
  checks the adapters in peft's form, since peft itself checks nothing.

A record that was changed by hand. *refused*: with the code 2 (`verify`: 1), naming the file.

{tampered}

Of {renderings} changes of the rendered benchmark that leave valid files, the next run mended {rebuilt}: {changes}.
"""


def page(found: Study) -> str:
    """The study as a page of Markdown."""
    rows = [
        [str(value) if value is not None else MISSING for value in asdict(row).values()]
        for row in found.flipped
    ]
    sums = [
        sum(getattr(row, name) or 0 for row in found.flipped)
        for name in ("files", "flips", *get_args(Verdict), "overlooked")
    ]
    header = ["what", "read by", "files", "flips", *get_args(Verdict), "overlooked"]
    tampered = [
        [one.way, *("refused" if name in one.refused else "NO" for name in COMMANDS)]
        for one in found.tampered
    ]
    return _PAGE.format(
        flips=sums[1],
        unnoticed=sums[5],
        flipped=table(header, [*rows, ["all", "", *(f"{value:,}" for value in sums)]], left=(0, 1)),
        tampered=table(["a record", *COMMANDS], tampered, left=tuple(range(len(COMMANDS) + 1))),
        rebuilt=sum(found.renderings.values()),
        renderings=len(found.renderings),
        changes=", ".join(found.renderings),
    )


def main() -> None:
    """Run the study and write its results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--flips", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--output", type=Path, default=Path("leaderboard"), metavar="DIR")
    parsed = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # the renderer would start a process on every other core each time
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="peftcorr-flips-") as folder:
        found = study(Path(folder), parsed.flips, parsed.seed)
    content: dict[str, Any] = asdict(found)
    write_json(parsed.output / "flips.json", content)
    text = page(found)
    with atomic_path(parsed.output / "flips.md") as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    print(text)


if __name__ == "__main__":
    main()
