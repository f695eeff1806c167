"""Weights of the small backbones, written once for the folder's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_models import Small, save_weights


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Hugging Face format with random weights of `Small`."""
    return save_weights(Small, tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture(scope="session")
def diffusion_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in diffusers format with random weights of `SmallDiffusion`."""
    from tests.small_diffusion import SmallDiffusion, save_pipeline

    return save_pipeline(SmallDiffusion, tmp_path_factory.mktemp("pipelines") / "small")
