"""Options of peft's tuners: which there are, what a recipe records of them, and what does not fit a layer."""

from __future__ import annotations

from typing import Any

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.recipe import resolve
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import apply_checked
from tests.small_models import Small


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tuner": "dorra"}, r"no strategy\.tuner 'dorra'\. Did you mean 'dora'\?"),
        ({"tuner": "lora"}, r"LoRA itself is the strategy lora"),
        ({"tuner": "vblora"}, r"'vblora' is one of peft's, but peftcorr has no closed form"),
        (
            {"options": {"lora_alfa": 8}},
            r"tuner dora has no option 'lora_alfa' .* Did you mean 'lora_alpha'\?",
        ),
        ({"tuner": "ia3", "options": {"r": 8}}, r"tuner ia3 has no option 'r' .* It has none\."),
        ({"options": {"target_modules": ["q"]}}, r"tuner dora has no option 'target_modules'"),
        (
            {"options": {"r": "8"}},
            r"strategy\.options\.r of the tuner dora is '8': input should be a valid integer",
        ),
        ({"options": {"r": 0}}, r"is 0: it must be at least 1"),
        ({"options": {"lora_dropout": 1.0}}, r"is 1\.0: it must be at least 0 and less than 1"),
        ({"tuner": "adalora", "options": {"beta1": 1.0}}, r"beta1 .* is 1\.0: it must lie between 0 and 1"),
        ({"tuner": "adalora", "options": {"init_r": 8}}, r"init_r 8 and target_r 8: init_r, .* the larger"),
        (
            {"tuner": "oft", "options": {"r": 4}},
            r"r 4 and oft_block_size 32: set one of them, and the other to 0",
        ),
        ({"tuner": "road", "options": {"variant": "road_3"}}, r"'road_3': choose road_1, road_2 or road_4"),
    ],
    ids=str,
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    made = STRATEGIES.get("peft")
    with pytest.raises(PeftCorrError, match=message):
        made.Config(**options)


def test_targets_are_checked_in_a_recipe() -> None:
    for section, message in (
        ({"name": "ln_tuning", "targets": ["q"]}, "takes no targets"),
        ({"name": "vera", "targets": ["q", "q"]}, "named once"),
        ({"name": "vera", "targets": ["qkv"]}, "targets.0 is 'qkv'"),
        ({"name": "vera", "option": {}}, "Did you mean 'options'"),
    ):
        with pytest.raises(PeftCorrError, match=message):
            resolve({"strategy": section, "backbone": "small"}, [], None)


def test_a_recipe_says_every_option() -> None:
    """Defaults are peft's and may change with it: the run's id must not cover two meanings."""
    recipe = resolve({"strategy": {"name": "loha", "options": {"r": 4}}, "backbone": "small"}, [], None)
    assert recipe.strategy == {
        "name": "loha",
        "tuner": "loha",
        "options": {
            "r": 4,
            "alpha": 8,
            "rank_dropout": 0.0,
            "module_dropout": 0.0,
            "use_effective_conv2d": False,
        },
        "targets": ["q", "v"],
        "blocks": "all",
    }


@pytest.mark.parametrize(
    ("tuner", "options", "message"),
    [
        ("oft", {"oft_block_size": 12}, r"its 32 inputs are no multiple of oft_block_size 12"),
        ("oft", {"oft_block_size": 0, "r": 5}, r"its 32 inputs are no multiple of r 5"),
        ("oft", {"oft_block_size": 1}, r"blocks of one input have nothing to rotate"),
        ("boft", {"boft_block_size": 5}, r"no multiple of boft_block_size 5"),
        ("boft", {"boft_block_size": 0, "boft_block_num": 32}, r"blocks of one input have nothing to rotate"),
        ("hra", {"r": 3}, r"r is 3, .* even"),
        ("fourierft", {"n_frequency": 1025}, r"32 x 32 weights, fewer than n_frequency 1025"),
        ("miss", {"r": 64}, r"32 inputs, fewer than r 64"),
        ("road", {"group_size": 64}, r"32 outputs are no multiple of group_size 64"),
        ("c3a", {"block_size": 64}, r"32 x 32 weights do not divide into blocks of 64"),
    ],
)
def test_layers_that_do_not_fit(tuner: str, options: dict[str, Any], message: str) -> None:
    made = STRATEGIES.get("peft")
    strategy = made(made.Config(tuner=tuner, options=options))
    name = r"model\.encoder\.layer\.0\.attention\.q_proj"
    with pytest.raises(
        PeftCorrError, match=rf"tuner {tuner} cannot take {name} \(.*{message}.*change the tuner's"
    ):
        apply_checked(strategy, Small.build(Small.Config(), None))
