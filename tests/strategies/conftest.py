"""Weights of the small backbones, written once for the folder's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.backbones.dinov2 import Dinov2
from tests.small_models import FAMILY, Small, save_weights


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Hugging Face format with random weights of `Small`."""
    return save_weights(Small, tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture(scope="session")
def family_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[type[Dinov2], Path]:
    """Such a folder for each of the small backbones."""
    folder = tmp_path_factory.mktemp("family")
    return {cls: save_weights(cls, folder / cls.__name__) for cls in FAMILY}
