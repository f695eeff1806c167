from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peftcorr.results.environment import PACKAGES, PeakMemory, environment, source_state
from peftcorr.results.record import Environment


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a package, a committed leaderboard and nothing changed."""
    root = tmp_path / "checkout"
    for name in ("package/__init__.py", "docs/page.md", "leaderboard/README.md", "leaderboard/notes.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("before")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def change(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("after")


def test_environment_names_versions_and_hardware() -> None:
    found = environment(processes=2, precision="bf16")
    assert Environment.model_validate_json(found.model_dump_json()) == found
    assert set(found.packages) == {"peftcorr", *PACKAGES}
    assert found.cpu_threads >= 1
    assert found.cpu
    assert (found.processes, found.precision) == (2, "bf16")
    assert found.precision_flags is not None
    assert found.devices is None
    assert environment(2, "no", devices=["cpu", "cpu"]).devices == {"cpu": 2}


def test_a_record_of_before_the_devices_were_known_is_read() -> None:
    newer = {"devices", "driver", "cuda", "precision_flags"}
    old = environment(1, "no").model_dump(exclude=newer)
    assert not newer & Environment.model_validate(old).model_dump().keys()


def test_commit_of_a_clean_checkout(checkout: Path) -> None:
    assert source_state(checkout / "package") == (git(checkout, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize(
    "name", ["package/__init__.py", "package/new file.py", "docs/page.md", "leaderboard/notes.py"]
)
def test_a_changed_source_is_dirty(checkout: Path, name: str) -> None:
    change(checkout / name)
    assert source_state(checkout / "package")[1] is True


@pytest.mark.parametrize(
    "name",
    ["leaderboard/records/lora ü.json", "leaderboard/README.md", "leaderboard/figures/a.svg", "scratch.py"],
)
def test_what_a_run_writes_is_not_dirty(checkout: Path, name: str) -> None:
    change(checkout / name)
    assert source_state(checkout / "package")[1] is False


def test_another_output_folder_is_not_dirty_either(checkout: Path) -> None:
    output = checkout / "package" / "results"
    change(output / "records" / "a.json")
    assert source_state(checkout / "package")[1] is True
    assert source_state(checkout / "package", output)[1] is False


def test_an_installed_package_inside_a_foreign_repository_has_no_commit(checkout: Path) -> None:
    change(checkout / ".venv" / "package" / "__init__.py")
    assert source_state(checkout / ".venv" / "package") == (None, None)


def test_no_checkout_and_no_git(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_state(tmp_path) == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source_state(checkout / "package") == (None, None)


def test_a_git_hook_does_not_mislead(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert source_state(checkout / "package")[1] is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can reset the peak of a process")
def test_peak_memory_is_that_of_the_block_and_drops_afterwards() -> None:
    size = 200_000_000
    with PeakMemory() as large:
        block = np.ones(size // 8)
        during = large.read()
        del block
    assert large.read() > during - 0.1 * size  # the peak stays when the array is gone
    with PeakMemory() as small:
        pass
    assert small.read() < during - 0.8 * size


def test_peak_memory_without_proc_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(Path, "write_text", missing)
    with PeakMemory() as peak:
        pass
    assert peak.read() > 10_000_000


def test_the_peak_is_in_bytes_wherever_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux's table says kB and means KiB; `getrusage` counts these too, but bytes on macOS."""
    monkeypatch.setattr("peftcorr.results.environment._from_proc", lambda table, key: "  12 kB")
    assert PeakMemory().read() == 12 * 1024
    monkeypatch.setattr("peftcorr.results.environment._from_proc", lambda table, key: None)
    monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=7000))
    for platform, peak in (("linux", 7000 * 1024), ("darwin", 7000)):
        monkeypatch.setattr(sys, "platform", platform)
        assert PeakMemory().read() == peak
