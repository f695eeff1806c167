"""Weights of the small backbones, written once for the folder's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.features.desk import Desk
from tests.small_models import Small, save_weights


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Hugging Face format with random weights of `Small`."""
    return save_weights(Small, tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture
def desk(tmp_path: Path, small_weights: Path) -> Desk:
    return Desk(tmp_path, small_weights)
