"""Strategies joined by a plus: options, what each part trains, and that their order means nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from peftcorr.config import make
from peftcorr.errors import PeftCorrError
from peftcorr.recipe import resolve
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.combined import combined
from peftcorr.strategies.pretrained import pretrained_parameters
from tests.small_models import Small, build, images
from tests.strategies.adapting import adapt, take_steps


def test_options_stand_in_a_section_for_each_part() -> None:
    section = {"name": "lora+norm", "lora": {"rank": 4}}
    recipe = resolve({"strategy": section}, ["strategy.norm.final_norm=false"], None)
    assert recipe.strategy["lora"]["rank"] == 4
    assert recipe.strategy["lora"]["targets"] == ["q", "v"]
    assert recipe.strategy["norm"] == {"blocks": "all", "final_norm": False}
    strategy: Any = make(STRATEGIES, recipe.strategy)
    assert strategy.parts["lora"].config.rank == 4


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "lora+norm", "lora": {"rnak": 4}}, r"'lora\+norm': there is no key 'lora.rnak'. .*'rank'"),
        ({"name": "lora+norm", "rank": 4}, "there is no key 'rank'"),
        ({"name": "lora+norm", "bitfit": {}}, "there is no key 'bitfit'"),
        ({"name": "lora+nrom"}, "Unknown strategy 'nrom'.*'norm'"),
        ({"name": "lora+"}, "joined by a plus, each once"),
        ({"name": "lora+lora"}, "joined by a plus, each once"),
        ({"name": "frozen+lora"}, "has a part that trains nothing: leave frozen out"),
    ],
)
def test_what_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(PeftCorrError, match=message):
        resolve({"strategy": section}, [], None)


@pytest.mark.parametrize("names", [("lora", "norm", "vpt"), ("adapter", "bitfit"), ("lora", "ssf", "last_k")])
def test_each_part_trains_what_it_trains_alone(small_weights: Path, names: tuple[str, ...]) -> None:
    """Norms and biases that another part brought are none of `norm`'s and `bitfit`'s."""
    backbone, together = adapt(small_weights, "+".join(names))
    alone = [adapt(small_weights, name) for name in names]
    assert backbone.trainable_parameters() == sum(one.trainable_parameters() for one, _ in alone)
    assert together.expected_parameters(build(Small, small_weights)) == backbone.trainable_parameters()
    assert together.first_trainable_block(backbone) == min(s.first_trainable_block(b) for b, s in alone)
    assert together.learning_rate() == min(strategy.learning_rate() for _, strategy in alone)
    assert together.trains()
    found = {key.replace(".base_layer", "") for key in together.state_dict(backbone)}
    assert found == {key for b, s in alone for key in s.state_dict(b)}


@pytest.mark.parametrize("name", ["lora+norm", "lora+ssf", "adapter+bitfit+lora"])
def test_the_order_of_the_names_means_nothing(small_weights: Path, name: str) -> None:
    backwards = "+".join(reversed(name.split("+")))
    found = []
    for order in (name, backwards):
        backbone, strategy = adapt(small_weights, order)
        take_steps(backbone)
        with torch.no_grad():
            found.append((backbone.features(images()), strategy.state_dict(backbone)))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1].keys() == found[1][1].keys()


def test_parts_may_come_in_any_order_of_wrapping(small_weights: Path) -> None:
    """What is pretrained is the same set of names and tensors whatever wraps or surrounds it."""
    plain = {name: p.clone() for name, p in pretrained_parameters(build(Small, small_weights)).items()}
    for name in ("lora", "adapter", "head", "adapter+head+lora+ssf+vpt"):
        backbone, _ = adapt(small_weights, name)
        found = pretrained_parameters(backbone)
        assert found.keys() == plain.keys()
        assert all(torch.equal(found[key], plain[key]) for key in plain)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bitfit+full", {}, "bitfit and full both change model.encoder.layer.0.*bias: leave one of them out"),
        ("norm+bitfit", {}, "bitfit and norm both change .*norm1.bias"),
        ("adapter+norm", {"adapter": {"layer_norm": True}}, "adapter and norm both change .*norm1.weight"),
        ("last_k+norm", {"norm": {"blocks": [2]}}, "last_k and norm both change .*layer.2.norm1.weight"),
    ],
)
def test_parts_that_train_the_same_are_refused(
    small_weights: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PeftCorrError, match=message):
        adapt(small_weights, name, **options)


@pytest.mark.parametrize("targets", [["q"], ["q", "v"]])
def test_two_parts_that_wrap_the_same_layer_are_refused(
    small_weights: Path, monkeypatch: pytest.MonkeyPatch, targets: list[str]
) -> None:
    """Two of the same tuner would share one adapter under two names."""

    @STRATEGIES.register("second_lora")
    class SecondLora(STRATEGIES.get("lora")):  # type: ignore[misc]
        """LoRA again."""

    try:
        with pytest.raises(PeftCorrError, match="which another strategy adapts already"):
            adapt(small_weights, "lora+second_lora", second_lora={"targets": targets})
        backbone, _ = adapt(small_weights, "lora+second_lora", second_lora={"targets": ["fc1"]})
        assert backbone.trainable_parameters() == 3 * 8 * (4 * 32 + 32 + 128)
    finally:
        del STRATEGIES._entries["second_lora"]
        combined.cache_clear()


@pytest.mark.parametrize("name", ["lora+norm", "lora+ssf", "bitfit+lora+ssf"])
def test_merged_features_are_the_same(small_weights: Path, name: str) -> None:
    """SSF sits inside LoRA on the layers themselves: it has to be merged first."""
    backbone, strategy = adapt(small_weights, name)
    take_steps(backbone)
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        before = backbone.features(images())
        for merged in (backbone, twin):
            strategy.merge(merged)
            torch.testing.assert_close(merged.features(images()), before, rtol=0, atol=1e-5)
            assert merged.state_dict().keys() == build(Small, small_weights).state_dict().keys()


def test_a_part_without_a_merge_says_so_before_anything_is_merged(small_weights: Path) -> None:
    backbone, strategy = adapt(small_weights, "lora+vpt+ssf")
    before = backbone.state_dict().keys()
    with pytest.raises(PeftCorrError, match=r"vpt of lora\+vpt\+ssf has no exact merge"):
        strategy.merge(backbone)
    assert backbone.state_dict().keys() == before
