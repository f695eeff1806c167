"""What a run ran on: versions, commit, hardware; and how much memory it took at its peak."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import TracebackType

import torch

from peftcorr.machine.devices import driver_version, precision_flags
from peftcorr.machine.version import VERSION
from peftcorr.results.record import Environment
from peftcorr.results.store import GENERATED

PACKAGES = ("torch", "transformers", "peft", "timm", "accelerate", "datasets", "evaluate", "numpy", "pillow")


def environment(
    processes: int, precision: str, output: Path | None = None, devices: Sequence[str] = ()
) -> Environment:
    """Describe what this process runs on.

    Args:
        processes: number of processes of the run.
        precision: mixed precision of the run ("no", "bf16", "fp16").
        output: folder that runs write to, so that its records do not make the checkout dirty; ``leaderboard``
            at the top of the checkout is always left out.
        devices: what each process runs on, if that is known.
    """
    commit, dirty = source_state(Path(__file__).parents[1], output)
    return Environment(
        packages={"peftcorr": VERSION} | {name: metadata.version(name) for name in PACKAGES},
        python=platform.python_version(),
        platform=platform.platform(),
        commit=commit,
        dirty=dirty,
        cpu=_cpu_name(),
        cpu_threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        devices=dict(Counter(devices)) or None,
        driver=driver_version(),
        cuda=torch.version.cuda,
        processes=processes,
        precision=precision,
        precision_flags=precision_flags(),
    )


def source_state(package: Path, output: Path | None = None) -> tuple[str | None, bool | None]:
    """Return the commit that `package` is checked out at, and whether the source differs from it.

    Dirty means: a tracked file has changed, or the package holds a file that git does not know. What runs
    generate below `output` does not count, or each run would mark its successor dirty.

    Returns:
        (None, None) if the folder is no checkout of its own, such as an installed package that merely lies
        inside somebody's repository.
    """
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    top, commit = _git(package, "rev-parse", "--show-toplevel"), _git(package, "rev-parse", "HEAD")
    status = _git(package, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    if tracked is None or top is None or commit is None or status is None:
        return None, None
    root = Path(top.strip()).resolve()
    outputs = {root / "leaderboard", *([output.resolve()] if output is not None else [])}
    return commit.strip(), any(
        _changes_source(entry[:2], root / entry[3:], package.resolve(), outputs)
        for entry in status.split("\0")
        if entry
    )


def _changes_source(state: str, path: Path, package: Path, outputs: set[Path]) -> bool:
    if any(path.is_relative_to(output / name) for output in outputs for name in GENERATED):
        return False
    return state != "??" or path.is_relative_to(package)


def _git(folder: Path, *arguments: str) -> str | None:
    # GIT_DIR and its like point elsewhere when the run was started from a git hook.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=30,
            env=variables,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _cpu_name() -> str:
    return _from_proc("cpuinfo", "model name") or platform.processor() or platform.machine()


def _from_proc(table: str, key: str) -> str | None:
    """The first value of a key in one of Linux's tables below ``/proc``; None elsewhere."""
    with suppress(OSError):
        for line in Path("/proc", table).read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return None


class PeakMemory:
    """Peak memory of this process between `reset` (or entering the context) and `read`, in bytes.

    With a CUDA device it is what PyTorch allocated there, else the resident set of the process. Where the
    operating system cannot reset its own mark (anything but Linux), the peak is that of the whole process.

    Example:
        >>> with PeakMemory() as peak:
        ...     train()
        >>> peak.read()
    """

    def __init__(self, device: torch.device | str | None = None):
        self.device = torch.device(device) if device is not None else None

    def __enter__(self) -> PeakMemory:
        self.reset()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def reset(self) -> None:
        """Start measuring anew."""
        if self._on_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        with suppress(OSError):  # not Linux, or a container that forbids it: see the class
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def read(self) -> int:
        """Return the peak so far, in bytes."""
        if self._on_cuda:
            return int(torch.cuda.max_memory_allocated(self.device))
        return _resident_peak()

    @property
    def _on_cuda(self) -> bool:
        return self.device is not None and self.device.type == "cuda"


def _resident_peak() -> int:
    peak = _from_proc("self/status", "VmHWM")
    if peak is not None:
        return int(peak.split()[0]) * 1024
    import resource  # not there on Windows

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, the others KiB
