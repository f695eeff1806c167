from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from pretrain.objective import Heads, appearance, build_model, initialise, matching_loss
from pretrain.renderings import renderings
from pretrain.settings import (
    Appearance,
    Architecture,
    Crops,
    Phase,
    PretrainSettings,
    Stage,
    read_settings,
)
from pretrain.views import Draw, cut, overlap, random_map, two_views
from transformers import Dinov2Model

from peftcorr.errors import PeftCorrError
from tests.scripts import script as load_script

ROOT = Path(__file__).parents[2]
SMALL = PretrainSettings(
    renderings=1,
    architecture=Architecture(width=24, blocks=2, heads=2, image_size=32),
    stages=(Stage(steps=2, size=16, batch=3), Stage(steps=2, size=32, batch=2)),
    warmup=2,
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("pretrain_tiny")


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(6, 2, 40, 40, 3), dtype=np.uint8)


def test_overlap_names_the_same_point_of_the_picture() -> None:
    """Patch centres of the first view, as points of the picture, are the weighted centres of the second's."""
    side = 8
    draw = Draw(3, 16)
    first, second = (random_map(draw, Crops(flip_apart=True), draw.chance(0.5)) for _ in range(2))
    weights = overlap(first, second, side)
    centres = (torch.arange(side) + 0.5) / side * 2 - 1
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1).reshape(-1, 2)
    place, other = (grid @ affine[:, :, :2].mT + affine[:, None, :, 2] for affine in (first, second))
    known = weights.sum(dim=-1) > 0.5
    assert 0.1 < known.float().mean() < 0.95
    assert weights[known].sum(dim=-1) == pytest.approx(1.0, abs=1e-5)
    assert torch.allclose((weights @ other)[known], place[known], atol=1e-5)


def test_cut_shows_the_point_that_its_map_names() -> None:
    line = (torch.arange(64) + 0.5) / 64 * 2 - 1
    ramp = torch.stack([line[None].expand(64, 64), line[:, None].expand(64, 64), torch.zeros(64, 64)])[None]
    affine = random_map(Draw(1, 1), Crops(), torch.tensor([True]))
    view = cut(ramp, affine, 32)[0, :2]
    centres = (torch.arange(32) + 0.5) / 32 * 2 - 1
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
    place = grid @ affine[0, :, :2].T + affine[0, :, 2]
    inner = (place.abs() < 0.95).all(dim=-1)
    assert torch.allclose(view.permute(1, 2, 0)[inner], place[inner], atol=1e-4)


def test_views_follow_their_seed() -> None:
    batch = torch.rand(2, 2, 3, 40, 40)
    first, again, other = (two_views(batch, 32, 8, Crops(), seed) for seed in (1, 1, 2))
    assert torch.equal(first.first, again.first)
    assert torch.equal(first.overlap, again.overlap)
    assert not torch.equal(first.first, other.first)
    assert first.overlap.shape == (2, 16, 16)
    assert not torch.equal(first.first, first.second)


def test_loss_is_low_for_features_that_match_and_high_otherwise() -> None:
    features = torch.nn.functional.normalize(torch.randn(2, 16, 32), dim=-1)
    order = torch.randperm(16)
    known = torch.eye(16)[order].expand(2, 16, 16)
    assert matching_loss(features[:, order], features, known, 0.02) < 1e-3
    assert matching_loss(features, features, known, 0.02) > 5.0


def test_patches_outside_the_other_view_do_not_count() -> None:
    first, second = torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    known = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0]))[None]
    before = matching_loss(first, second, known, 1.0)
    assert torch.isfinite(before)
    first.requires_grad_(True)
    forth_only = -torch.log_softmax(
        torch.nn.functional.normalize(first, dim=-1) @ torch.nn.functional.normalize(second, dim=-1).mT,
        dim=-1,
    )[0, :3].diagonal()
    assert forth_only.shape == (3,)
    forth_only.mean().backward()
    assert first.grad is not None
    assert first.grad[0, 3].abs().sum() == 0


def test_start_is_symmetric_attention_in_few_parameters() -> None:
    architecture = PretrainSettings().architecture
    model = build_model(architecture)
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_758_656 <= 3_000_000
    initialise(model, architecture, seed=0)
    state = dict(model.named_parameters())
    queries = [name for name in state if name.endswith("q_proj.weight")]
    assert len(queries) == 6
    for name in queries:
        assert torch.equal(state[name], state[name.replace("q_proj", "k_proj")])
        rows = state[name][:64] / architecture.attention_gain
        assert torch.allclose(rows @ rows.T, torch.eye(64), atol=1e-5)


def test_renderings_are_kept_and_reopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pretrain.renderings.CATEGORIES", {"car": None, "bird": None})
    first = renderings(tmp_path, 0, 2, 40, 1, None)
    assert first.shape == (4, 2, 40, 40, 3)
    assert len({look.tobytes() for picture in first for look in picture}) == 8
    monkeypatch.setattr("pretrain.renderings.run_tasks", None)
    assert np.array_equal(renderings(tmp_path, 0, 2, 40, 1, None), first)


SECOND = Appearance(stages=(Stage(steps=4, size=16, batch=3),), pixels=2, warmup=2)


@pytest.mark.parametrize("phase", [SMALL, SECOND], ids=["matching", "appearance"])
def test_a_resumed_run_ends_with_the_same_weights(
    script: ModuleType, pictures: np.ndarray, tmp_path: Path, phase: Phase
) -> None:
    accelerator = Accelerator(cpu=True)
    whole = script.Pretraining(SMALL, accelerator, pictures, phase)
    for _ in range(4):
        whole.train_step()
    part = script.Pretraining(SMALL, accelerator, pictures, phase)
    for _ in range(2):
        part.train_step()
    part.save(tmp_path)
    resumed = script.Pretraining(SMALL, accelerator, pictures, phase)
    resumed.resume(tmp_path)
    assert resumed.step == 2
    for _ in range(2):
        resumed.train_step()
    for name, value in whole.learner.state_dict().items():
        assert torch.equal(value, resumed.learner.state_dict()[name]), name
    other = script.Pretraining(SMALL.model_copy(update={"temperature": 0.2}), accelerator, pictures, phase)
    with pytest.raises(PeftCorrError, match="other settings"):
        other.resume(tmp_path)


def test_the_second_phase_starts_from_the_first_and_leaves_its_heads_behind(
    script: ModuleType, pictures: np.ndarray, tmp_path: Path
) -> None:
    accelerator = Accelerator(cpu=True)
    first = script.Pretraining(SMALL, accelerator, pictures)
    first.train_step()
    before = {name: value.clone() for name, value in first.backbone.state_dict().items()}
    second = script.Pretraining(SMALL, accelerator, pictures, SECOND, first.backbone)
    for name, value in second.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    for _ in range(4):
        second.train_step()
    assert not torch.equal(second.learner.heads.matching.weight, torch.eye(24))
    script.write_weights([first, second], tmp_path)
    loaded = Dinov2Model.from_pretrained(tmp_path)
    assert loaded.state_dict().keys() == before.keys()
    assert json.loads((tmp_path / "pretraining.json").read_text())["steps"] == [1, 4]


def test_appearance_is_each_patch_in_small() -> None:
    views = torch.arange(2 * 3 * 16 * 16, dtype=torch.float32).reshape(2, 3, 16, 16)
    seen = appearance(views, 8, 4)
    assert seen.shape == (2, 4, 48)
    lower_left = views[1, :, 8:, :8].unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2))
    assert torch.equal(seen[1, 2].reshape(3, 4, 4), lower_left)


def test_heads_start_as_identity_and_orthonormal() -> None:
    heads = Heads(24, 12, 0)
    tokens = torch.randn(2, 5, 24)
    matched, seen = heads(tokens)
    assert torch.equal(matched, tokens)
    assert seen.shape == (2, 5, 12)
    assert torch.allclose(heads.decoder.T @ heads.decoder, torch.eye(12), atol=1e-5)
    assert "decoder" not in dict(heads.named_parameters())


def test_written_weights_are_half_precision_and_load(
    script: ModuleType, pictures: np.ndarray, tmp_path: Path
) -> None:
    run = script.Pretraining(SMALL, Accelerator(cpu=True), pictures)
    run.train_step()
    script.write_weights([run], tmp_path)
    record = json.loads((tmp_path / "pretraining.json").read_text())
    content = (tmp_path / "model.safetensors").read_bytes()
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["steps"] == [1]
    assert PretrainSettings.model_validate(record["settings"]) == SMALL
    loaded = Dinov2Model.from_pretrained(tmp_path, dtype=torch.float32)
    for name, value in run.backbone.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name


def test_rate_rises_stays_and_falls() -> None:
    phase = Phase(stages=(Stage(steps=100, size=64, batch=8),), learning_rate=1.0, warmup=10, decay=0.2)
    rates = [phase.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:81] == [1.0] * 71
    assert rates[90] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.06


def test_the_shipped_recipe_is_valid_and_typos_are_named(tmp_path: Path) -> None:
    assert read_settings(ROOT / "recipes" / "pretrain_tiny.yaml").steps > 0
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("temperatur: 0.1\n")
    with pytest.raises(PeftCorrError, match="temperature"):
        read_settings(wrong)
    with pytest.raises(PeftCorrError, match="Cannot read"):
        read_settings(tmp_path / "none.yaml")
