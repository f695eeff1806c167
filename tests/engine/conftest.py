"""A small backbone, a small folder of photographs, and a fresh Accelerate for each test."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, GradientState

from peftcorr.console.progress import Progress
from tests.small_folder import write_folder
from tests.small_models import Small, save_weights


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Hugging Face format with random weights of `Small`."""
    return save_weights(Small, tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in SPair-71k's layout."""
    return write_folder(tmp_path_factory.mktemp("data") / "photographs")


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps its state in singletons: the precision of one test must not become the next one's."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="session", autouse=True)
def _quick_collection() -> None:
    """Accelerate collects garbage after every training; what was imported need not be looked at each time."""
    gc.freeze()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What trainings say."""
    lines: list[str] = []
    monkeypatch.setattr(Progress, "say", lambda self, line: lines.append(line))
    return lines
