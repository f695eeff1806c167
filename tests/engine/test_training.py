"""Training: it learns, in every precision, with or without kept prefixes, and stops where a number is not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from peftcorr.backbones.base import TokenState
from peftcorr.engine.optimisation import Optimisation, Stepped
from peftcorr.engine.train import validation_pck
from peftcorr.errors import TrainingDiverged
from peftcorr.features.prefix import PrefixStore
from peftcorr.strategies import STRATEGIES
from tests.engine.building import Job, assert_equal
from tests.strategies.adapting import TRAINED


def record_losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    losses: list[float] = []
    step = Optimisation.step

    def keeping(self: Optimisation, *arguments: Any) -> Stepped:
        made = step(self, *arguments)
        losses.append(made.loss)
        return made

    monkeypatch.setattr(Optimisation, "step", keeping)
    return losses


@pytest.mark.parametrize("strategy", TRAINED)
def test_learns(
    photographs: Path, small_weights: Path, tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = record_losses(monkeypatch)
    job = Job(
        small_weights,
        photographs,
        tmp_path,
        strategy,
        steps=40,
        images=4,
        validate_every=20,
        learning_rate=1e-2,
    )
    before = job.tensors()
    trained = job.run()
    share = 0.95 if strategy in ("bitfit", "norm") else 0.8  # vectors alone get less far in forty steps
    assert sum(losses[-10:]) < share * sum(losses[:10])
    assert trained.steps == 40
    assert [point.step for point in trained.validation] == [20, 40]
    told = [point.loss for point in trained.validation]
    assert told == pytest.approx([sum(losses[:20]) / 20, sum(losses[20:]) / 20])
    assert trained.learning_rate == 1e-2
    assert trained.search == []
    assert any(not torch.equal(tensor, before[name]) for name, tensor in job.tensors().items())


def test_only_what_the_strategy_owns_is_trained(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    job = Job(small_weights, photographs, tmp_path, "adapter", weight_decay=0.1)
    before = {name: tensor.clone() for name, tensor in job.backbone.state_dict().items()}
    job.run()
    own = job.tensors().keys()
    moved = {
        name for name, tensor in job.backbone.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert moved == own


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("last_k", {"k": 1}),
        ("lora", {"blocks": [-1], "dropout": 0.2}),
        ("adaptformer", {"blocks": [1, 2]}),
        ("adapter", {"blocks": [2]}),
    ],
)
def test_kept_prefixes_change_nothing(
    photographs: Path,
    small_weights: Path,
    tmp_path: Path,
    strategy: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The frozen blocks' output is computed once an image, and every loss and tensor stays as it was."""
    losses = record_losses(monkeypatch)
    found = []
    kept = PrefixStore()
    for prefixes, folder in ((None, tmp_path / "without"), (kept, tmp_path / "with")):
        job = Job(small_weights, photographs, folder, strategy, options, prefixes, validate_every=3)
        encoded = []
        job.backbone.model.embeddings.register_forward_hook(lambda m, i, o, e=encoded: e.append(len(o)))
        job.run()
        found.append(job.tensors())
    assert losses[:6] == pytest.approx(losses[6:], rel=1e-5)
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-4, atol=1e-6)
    assert sum(encoded) == len(kept) == 8


def test_the_best_validated_step_is_kept(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([10.0, 30.0, 20.0, 30.0])
    monkeypatch.setattr("peftcorr.engine.train.validation_pck", lambda data, points: next(scores))
    kept = []
    job = Job(small_weights, photographs, tmp_path, steps=8, validate_every=2)
    validate = job.trainer._validate

    def keeping(*arguments: Any) -> None:
        validate(*arguments)
        kept.append(job.tensors())

    monkeypatch.setattr(job.trainer, "_validate", keeping)
    trained = job.run()
    assert trained.best_step == 4
    assert [point.pck for point in trained.validation] == [10, 30, 20, 30]
    assert_equal(job.tensors(), kept[1])


def test_without_a_validation_split_the_last_step_is_kept(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    trained = Job(small_weights, photographs, tmp_path, steps=3, validate=False).run()
    assert (trained.steps, trained.best_step, trained.validation) == (3, 3, [])


def test_validation_is_pck_at_a_tenth(photographs: Path, small_weights: Path, tmp_path: Path) -> None:
    data = Job(small_weights, photographs, tmp_path).trn.data
    assert validation_pck(data, data.target_points) == 100
    length = data.reference_length[data.pair]
    off = data.target_points.copy()
    off[:, 0] += 0.11 * length
    off[: len(off) // 2, 0] -= 0.02 * length[: len(off) // 2]
    assert validation_pck(data, off) == pytest.approx(100 * (len(off) // 2) / len(off))


@pytest.mark.parametrize("sampler", ["cliques", "pairs"])
def test_accumulation_is_one_step_over_more_batches(
    photographs: Path, small_weights: Path, tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches accumulated move the parameters by the mean of their two gradients."""
    gradients: list[dict[str, torch.Tensor]] = []
    step = torch.optim.AdamW.step

    def keeping(self: torch.optim.AdamW, *arguments: Any) -> Any:
        gradients.append(
            {n: p.grad.clone() for n, p in job.backbone.named_parameters() if p.grad is not None}
        )
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", keeping)
    common: dict[str, Any] = {"sampler": sampler, "pairs": 3, "gradient_clip": 1e9, "validate": False}
    job = Job(small_weights, photographs, tmp_path / "once", steps=1, accumulation=2, **common)
    job.run()
    assert len(gradients) == 1
    together = gradients.pop()
    job = Job(small_weights, photographs, tmp_path / "apart", steps=2, learning_rate=1e-12, **common)
    job.run()
    assert len(gradients) == 2
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, (gradients[0][name] + gradients[1][name]) / 2)


def test_bfloat16_trains_close_to_full_precision(
    photographs: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.state import AcceleratorState

    losses = record_losses(monkeypatch)
    types = set()
    for precision in ("no", "bf16"):
        AcceleratorState._reset_state(reset_partial_state=True)
        job = Job(small_weights, photographs, tmp_path / precision, "lora", steps=10, precision=precision)
        job.backbone.blocks()[1].mlp.fc1.register_forward_hook(
            lambda module, inputs, output: types.add(output.dtype)
        )
        before = job.tensors()
        job.run()
        after = job.tensors()
        assert all(tensor.dtype == torch.float32 for tensor in after.values())
        assert not any(torch.equal(after[name], before[name]) for name in before)
    assert types == {torch.float32, torch.bfloat16}
    assert losses[:10] == pytest.approx(losses[10:], rel=0.1)
    assert losses[:10] != losses[10:]


def test_what_a_strategy_adds_to_the_loss_is_trained(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    """AdaLoRA's regulariser makes the rows of A and the columns of B longer, which start short."""
    lengths = []
    for weight in (0.0, 10.0):
        options = {"options": {"init_r": 4, "target_r": 2, "orth_reg_weight": weight}}
        job = Job(small_weights, photographs, tmp_path / str(weight), "adalora", options, validate=False)
        before = [tensor.norm() for name, tensor in job.tensors().items() if ".lora_E." not in name]
        job.run()
        after = [tensor.norm() for name, tensor in job.tensors().items() if ".lora_E." not in name]
        lengths.append([float(new - old) for new, old in zip(after, before, strict=True)])
    assert all(strong > weak and strong > 0 for weak, strong in zip(*lengths, strict=True))


def test_after_training_the_backbone_computes_in_full_precision(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    """Scores are taken in full precision: what Accelerate wrapped round the forward must be gone."""
    job = Job(small_weights, photographs, tmp_path, "lora", precision="bf16")
    job.run()
    types = set()
    job.backbone.blocks()[1].mlp.fc1.register_forward_hook(lambda m, i, output: types.add(output.dtype))
    with torch.no_grad():
        job.backbone(torch.randn(1, 3, 32, 32))
    assert types == {torch.float32}


def test_a_loss_that_is_not_finite_names_step_and_pair(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    """One image whose features are not numbers: the pair named is one that it is in."""
    prefixes = PrefixStore()
    job = Job(small_weights, photographs, tmp_path, "last_k", prefixes=prefixes, images=4, validate=False)
    bad = "car/2.jpg"
    prefixes.put([bad], TokenState(torch.full((1, 17, 32), torch.nan), 4, 4))
    sampler = job.trainer.sampler
    drawn = ({job.trn.data.images[image] for image in sampler.batch(step).images} for step in range(100))
    step = next(number for number, images in enumerate(drawn, start=1) if bad in images)
    with pytest.raises(TrainingDiverged, match=rf"loss is not finite at step {step}, pair .*car/2\.jpg"):
        job.run()


def test_a_learning_rate_that_explodes_is_stopped(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    job = Job(small_weights, photographs, tmp_path, "adapter", learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingDiverged, match=r"is not finite at step \d, pair .* -> .*learning_rate"):
        job.run()


def test_a_gradient_that_is_not_finite_is_stopped(
    photographs: Path, small_weights: Path, tmp_path: Path
) -> None:
    job = Job(small_weights, photographs, tmp_path, "lora")
    parameter = next(parameter for parameter in job.backbone.parameters() if parameter.requires_grad)
    parameter.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(TrainingDiverged, match="gradient is not finite at step 1, pair"):
        job.run()


def test_each_strategy_has_a_rate_of_its_own() -> None:
    """A recipe that names none must not train whole blocks as fast as fresh low-rank matrices."""
    rates = {name: STRATEGIES.get(name)(STRATEGIES.get(name).Config()).learning_rate() for name in TRAINED}
    assert rates["last_k"] < rates["lora"]
    assert all(0 < rate < 0.1 for rate in rates.values())


@pytest.mark.parametrize("strategy", ["lora", "adaptformer", "last_k", "vpt"])
def test_checkpointed_gradients_are_the_same(
    photographs: Path, small_weights: Path, tmp_path: Path, strategy: str
) -> None:
    plain, checkpointed = (
        Job(
            small_weights, photographs, tmp_path / str(flag), strategy, validate=False, steps=3,
            gradient_checkpointing=flag,
        )
        for flag in (False, True)
    )  # fmt: skip
    plain.run()
    checkpointed.run()
    assert checkpointed.trainer.losses == pytest.approx(plain.trainer.losses, rel=1e-5)
    assert not any("forward" in vars(block) for block in checkpointed.backbone.blocks())
    expected = plain.tensors()
    for name, tensor in checkpointed.tensors().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)
