"""peft's tuners: what they train, where they start, what moves, what comes back, and what they refuse."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.loha.layer import LoHaLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.engine.cost import estimate
from peftcorr.engine.plan import Model
from peftcorr.errors import PeftCorrError
from peftcorr.recipe import resolve
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from peftcorr.strategies.tuners.catalogue import TUNERS
from tests.small_models import Small, SmallGated, build, images
from tests.strategies.adapting import adapt, take_steps
from tests.strategies.tuners.peft_cases import OPTIONS

ALL = sorted(OPTIONS)
EVERY = ["q", "k", "v", "out", "fc1", "fc2"]
EXACT = set(OPTIONS) - {"hra", "c3a"}
BY_HAND = {  # of q and v in three blocks 32 wide, six layers of 32 x 32, unless said
    "dora": 6 * (4 * 64 + 32),
    "rslora": 6 * 4 * 64,
    "adalora": 6 * 6 * 65,
    "loha": 6 * 2 * 3 * 64,
    "lokr": 6 * (4 * 4 + 2 * (8 + 8)),
    "oft": 6 * 4 * 28,
    "boft": 6 * (4 * 64 + 32),
    "hra": 6 * 4 * 32,
    "ia3": 3 * (32 + 32 + 128),  # k, v and the 128 inputs of fc2
    "vera": 6 * (16 + 32),
    "fourierft": 6 * 50,
    "ln_tuning": 3 * 2 * 64,
    "hira": 6 * 4 * 64,
    "delora": 6 * (4 * 64 + 1),
    "miss": 6 * 8 * 32,
    "road": 6 * 32,
    "c3a": 6 * 32 * 4,
}


def case(tuner: str, **more: Any) -> dict[str, Any]:
    return {"tuner": tuner, "options": OPTIONS[tuner], **more}


def wide(tuner: str) -> dict[str, Any]:
    return case(tuner) if tuner == "ln_tuning" else case(tuner, targets=EVERY)


def features(backbone: Dinov2) -> Tensor:
    with torch.no_grad():
        return backbone.features(images())


def test_every_tuner_has_a_case() -> None:
    assert set(OPTIONS) == set(TUNERS) == set(BY_HAND)


@pytest.mark.parametrize("cls", [Small, SmallGated])
@pytest.mark.parametrize("tuner", ALL)
def test_counts_of_every_layer_on_the_meta_device(cls: type[Dinov2], tuner: str) -> None:
    """`apply_checked` compares; the closed form is the same before."""
    backbone, made = cls.build(cls.Config(), None), STRATEGIES.get("peft")
    options = wide(tuner)
    if cls is SmallGated and tuner in ("oft", "boft", "road", "c3a"):
        options["options"] = {"oft": {"oft_block_size": 2}, "boft": {"boft_block_size": 2}}.get(
            tuner, {"group_size": 2} if tuner == "road" else {"block_size": 1}
        )
    strategy = made(made.Config(**options))
    before = strategy.expected_parameters(backbone)
    apply_checked(strategy, backbone)
    assert backbone.trainable_parameters() == before
    assert all(tensor.is_meta for tensor in backbone.state_dict().values())


@pytest.mark.parametrize(
    ("tuner", "options"),
    [
        ("lokr", {"r": 1, "decompose_both": True, "decompose_factor": 8}),
        ("lokr", {"r": 64}),
        ("lokr", {"decompose_factor": 5}),
        ("oft", {"oft_block_size": 0, "r": 2}),
        ("oft", {"oft_block_size": 8, "block_share": True}),
        ("boft", {"boft_block_size": 0, "boft_block_num": 4}),
        ("road", {"group_size": 16, "variant": "road_2"}),
        ("road", {"group_size": 16, "variant": "road_4"}),
    ],
)
def test_options_that_change_the_count(small_weights: Path, tuner: str, options: Any) -> None:
    backbone, strategy = adapt(small_weights, "peft", tuner=tuner, options=options, targets=["q", "fc1"])
    assert backbone.trainable_parameters() == strategy.expected_parameters(backbone) > 0
    assert torch.equal(features(backbone), features(build(Small, small_weights)))


@pytest.mark.parametrize("tuner", ALL)
def test_features_start_as_they_were_and_two_steps_move_all_that_is_own(
    small_weights: Path, tuner: str
) -> None:
    backbone, strategy = adapt(small_weights, "peft", **case(tuner))
    assert backbone.trainable_parameters() == strategy.expected_parameters(backbone) == BY_HAND[tuner]
    plain = features(build(Small, small_weights))
    for training in (False, True):
        backbone.train(training)
        torch.testing.assert_close(features(backbone), plain, rtol=0, atol=0 if tuner in EXACT else 1e-5)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    take_steps(backbone)
    moved = {key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved == strategy.state_dict(backbone).keys()
    assert not torch.allclose(features(backbone), plain, atol=1e-3)


@pytest.mark.parametrize("tuner", ALL)
def test_saved_loaded_copied_and_merged(small_weights: Path, tmp_path: Path, tuner: str) -> None:
    trained, strategy = adapt(small_weights, "peft", **wide(tuner))
    take_steps(trained)
    own = strategy.state_dict(trained)
    assert sum(tensor.numel() for tensor in own.values()) == strategy.expected_parameters(trained)
    save_file(own, tmp_path / "adapter.safetensors")
    fresh, again = adapt(small_weights, "peft", seed=2, **wide(tuner))
    expected, start = features(trained), features(fresh)
    assert not torch.allclose(start, expected, atol=1e-3)
    again.load_state_dict(fresh, load_file(tmp_path / "adapter.safetensors"))
    assert torch.equal(features(fresh), expected)

    twin = copy.deepcopy(trained)
    take_steps(twin)
    assert torch.equal(features(trained), expected)
    assert not torch.equal(features(twin), expected)

    strategy.merge(trained)
    torch.testing.assert_close(features(trained), expected, rtol=1e-5, atol=1e-5)
    assert trained.state_dict().keys() == build(Small, small_weights).state_dict().keys()


@pytest.mark.parametrize("tuner", ALL)
def test_the_cost_of_a_run_can_be_told_without_weights(tuner: str) -> None:
    """``--dry-run`` goes forward and backward on the meta device."""
    section = {"name": "peft", **case(tuner)}
    recipe = resolve({"strategy": section, "backbone": "small"}, [], None)
    told = estimate(Model.of(recipe, lambda *_: None))
    assert told.trainable == BY_HAND[tuner]
    assert told.train_flops > told.forward_flops > 0


@pytest.mark.parametrize("tuner", sorted(set(ALL) - {"hira", "delora", "miss", "road", "c3a"}))
def test_a_tuner_by_its_own_name_is_the_same(small_weights: Path, tuner: str) -> None:
    one, _ = adapt(small_weights, "peft", **case(tuner))
    other, named = adapt(small_weights, tuner, options=OPTIONS[tuner])
    for tensor, same in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert tensor[0] == same[0]
        assert torch.equal(tensor[1], same[1])
    assert named.config.tuner == tuner
    with pytest.raises(ValueError, match="the strategy peft has others"):
        adapt(small_weights, tuner, tuner="oft" if tuner != "oft" else "boft")


def test_only_the_chosen_blocks_are_adapted(small_weights: Path) -> None:
    for tuner in ("vera", "ln_tuning"):
        backbone, strategy = adapt(small_weights, "peft", **case(tuner, blocks=[-1]))
        assert strategy.first_trainable_block(backbone) == 2
        assert all(".layer.2." in name for name in strategy.state_dict(backbone))
        assert 3 * strategy.expected_parameters(backbone) == BY_HAND[tuner]


@pytest.mark.parametrize("tuner", sorted(set(ALL) - {"ln_tuning"}))
def test_tokens_in_a_grid_and_half_precision(small_weights: Path, tuner: str) -> None:
    """Windowed families have tokens (B, H, W, D), and training may run in bfloat16."""
    backbone, strategy = adapt(small_weights, "peft", **case(tuner))
    take_steps(backbone)
    layer = backbone.get_submodule(strategy.targets(backbone)[0])
    tokens = torch.randn(2, 4, 5, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        flat = layer(tokens.reshape(2, 20, 32)).reshape(2, 4, 5, 32)
        torch.testing.assert_close(layer(tokens), flat, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        found = backbone(images())
    torch.testing.assert_close(found.detach(), features(backbone), rtol=0, atol=0.1)
    found.square().mean().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters() if p.requires_grad
    )


def test_ia3_scales_the_input_of_the_last_layer_of_the_mlp(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "ia3", blocks=[1])
    own = strategy.state_dict(backbone)
    assert {name.split(".layer.1.")[1]: tensor.numel() for name, tensor in own.items()} == {
        "attention.k_proj.ia3_l.default": 32,
        "attention.v_proj.ia3_l.default": 32,
        "mlp.fc2.ia3_l.default": 128,
    }


def test_boft_does_not_compile(small_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("torch.utils.cpp_extension.load", lambda *arguments, **options: asked.append(options))
    monkeypatch.setattr("peft.tuners.boft.layer._FBD_CUDA", None)
    adapt(small_weights, "boft")
    assert asked == []


@pytest.mark.parametrize("tuner", ["lora", *ALL])
def test_what_was_trainable_stays_trainable(tuner: str) -> None:
    backbone = Small.build(Small.Config(), None)
    opened = [backbone.model.layernorm.weight, backbone.blocks()[0].attention.q_proj.bias]
    for parameter in opened:
        parameter.requires_grad_(True)
    made = STRATEGIES.get("lora" if tuner == "lora" else "peft")
    strategy = made(made.Config(**({} if tuner == "lora" else case(tuner))))
    strategy.apply(backbone)
    assert backbone.trainable_parameters() == strategy.expected_parameters(backbone) + 64
    assert all(parameter.requires_grad for parameter in opened)


def test_two_tuners_side_by_side(small_weights: Path) -> None:
    backbone = build(Small, small_weights)
    backbone.requires_grad_(False)
    total = 0
    for tuner, roles in (("dora", ["q"]), ("vera", ["v"]), ("lokr", ["fc1"]), ("vera", ["fc2"])):
        made = STRATEGIES.get(tuner)
        strategy = made(made.Config(options=OPTIONS[tuner], targets=roles))
        strategy.apply(backbone)
        assert not hasattr(backbone, "peft_config")
        total += strategy.expected_parameters(backbone)
        assert backbone.trainable_parameters() == total
    assert torch.equal(features(backbone), features(build(Small, small_weights)))
    lora = STRATEGIES.get("lora")
    with pytest.raises(
        PeftCorrError, match=r"lora would adapt .*q_proj, which another strategy adapts already"
    ):
        lora(lora.Config()).apply(backbone)


def test_ln_tuning_does_not_copy_what_another_strategy_hung_on_a_norm(small_weights: Path) -> None:
    backbone, _ = adapt(small_weights, "adaptformer", blocks=[0])
    made = STRATEGIES.get("ln_tuning")
    with pytest.raises(PeftCorrError, match=r"cannot take .*layer\.0\.norm2, which another strategy uses"):
        made(made.Config()).apply(backbone)
    made(made.Config(blocks=[1, 2])).apply(backbone)


def test_a_block_without_norms() -> None:
    backbone = Small.build(Small.Config(), None)
    for name in ("norm1", "norm2"):
        setattr(backbone.blocks()[1], name, nn.BatchNorm1d(32))
    made = STRATEGIES.get("ln_tuning")
    with pytest.raises(PeftCorrError, match=r"finds no norm in model\.encoder\.layer\.1: choose"):
        made(made.Config()).apply(backbone)


def test_what_peft_refuses_names_the_layer(small_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer that is not wrapped yet, whatever order the roles are given in."""
    update, calls = LoHaLayer.update_layer, []

    def refuse_the_third(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise ValueError("too\n odd!")
        update(*arguments, **options)

    monkeypatch.setattr(LoHaLayer, "update_layer", refuse_the_third)
    with pytest.raises(
        PeftCorrError, match=r"loha cannot take .*layer\.1\.attention\.q_proj \(too odd\): change"
    ):
        adapt(small_weights, "loha", targets=["v", "q"])


def test_merging_what_is_not_there(small_weights: Path) -> None:
    _, strategy = adapt(small_weights, "vera", options={"r": 4})
    with pytest.raises(PeftCorrError, match="carries no vera to merge"):
        strategy.merge(build(Small, small_weights))
