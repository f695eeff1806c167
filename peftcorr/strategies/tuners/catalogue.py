"""Which of peft's tuners are offered, with what options, and what each does to the features at its start.

Bit-equal at the start: dora, rslora, adalora, loha, lokr, ia3, vera, fourierft, ln_tuning, hira, delora, miss
(a zero is added, or all is multiplied by one) and oft, boft, road (whose rotations are written as the identity).
Equal up to rounding: hra, whose reflections cancel in pairs, and c3a, which goes through a Fourier transform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from pydantic import TypeAdapter, ValidationError

from peftcorr.errors import PeftCorrError, did_you_mean, reason, shown
from peftcorr.strategies.tuners import counts


@dataclass(frozen=True)
class Tuner:
    """One of peft's tuners.

    Attributes:
        name: what a recipe calls it.
        count: closed form of what it trains in a layer.
        options: the options of its peft Config that a recipe may set: those that change neither which layers are
            adapted, nor what else is trained, nor that the features start as they were.
        defaults: ours, where peft's would not do that.
        fixed: what makes it this tuner and not another of the same Config.
        convolutions: whether peft's implementation takes them: none, those of one group, or all.
        square: whether a convolution's kernel must be as high as wide.
        peft_type: peft's name of it, where that is another.
    """

    name: str
    count: counts.Count
    options: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    convolutions: Literal["none", "ungrouped", "all"] = "none"
    square: bool = False
    peft_type: str = ""

    @property
    def config_class(self) -> type[PeftConfig]:
        """peft's Config."""
        found: type[PeftConfig] = PEFT_TYPE_TO_CONFIG_MAPPING[self.peft_type or self.name.upper()]
        return found

    def config(self, options: Mapping[str, Any], **targets: Any) -> PeftConfig:
        """Make peft's Config.

        Args:
            options: all of them, as `complete_options` gives them.
            targets: what is adapted, by peft's names of it.
        """
        if self.name == "adalora":  # it wants to know the steps beforehand, which `RankSchedule` is told
            targets["total_step"] = options["tinit"] + options["tfinal"] + 1
        return self.config_class(**options, **self.fixed, **targets)

    def parameters(self, shape: counts.Shape, options: Mapping[str, Any]) -> int:
        """Count what is trained in a layer, by closed form.

        Raises:
            Unfit: if peft's implementation does not take the layer, saying why.
        """
        if shape.kernel is not None:
            if self.convolutions == "none":
                raise counts.Unfit("it is a convolution")
            if self.convolutions == "ungrouped" and shape.groups > 1:
                raise counts.Unfit(f"it is a convolution of {shape.groups} groups")
            if self.square and shape.kernel[0] != shape.kernel[1]:
                raise counts.Unfit(f"its kernel of {shape.kernel[0]} x {shape.kernel[1]} is not square")
        return self.count(shape, options)


_LORA = ("r", "lora_alpha", "lora_dropout")
_DROPOUTS = ("rank_dropout", "module_dropout")

_OFFERED = (
    Tuner("dora", counts.dora, _LORA, peft_type="LORA", fixed={"use_dora": True}, convolutions="ungrouped"),
    Tuner("rslora", counts.low_rank, _LORA, peft_type="LORA", fixed={"use_rslora": True}, convolutions="all"),
    Tuner(
        "adalora",
        counts.adalora,
        (
            *("init_r", "target_r", "lora_alpha", "lora_dropout"),
            *("tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight"),
        ),
        convolutions="ungrouped",
    ),
    Tuner("loha", counts.loha, ("r", "alpha", *_DROPOUTS, "use_effective_conv2d"), convolutions="ungrouped"),
    Tuner(
        "lokr",
        counts.lokr,
        (
            *("r", "alpha", *_DROPOUTS, "rank_dropout_scale"),
            *("decompose_both", "decompose_factor", "use_effective_conv2d"),
        ),
        convolutions="ungrouped",
    ),
    # Without coft, which writes to the weights in every forward pass, scoring included.
    Tuner(
        "oft",
        counts.oft,
        (
            *("r", "oft_block_size", "module_dropout", "block_share"),
            *("use_cayley_neumann", "num_cayley_neumann_terms"),
        ),
    ),
    # More than one butterfly factor needs an extension that peft compiles where there is a CUDA compiler.
    Tuner(
        "boft",
        counts.boft,
        ("boft_block_size", "boft_block_num", "boft_dropout"),
        convolutions="ungrouped",
        square=True,
    ),
    Tuner("hra", counts.hra, ("r",), convolutions="ungrouped", square=True),
    Tuner("ia3", counts.ia3, convolutions="all"),
    Tuner("vera", counts.vera, ("r", "projection_prng_key", "vera_dropout", "d_initial")),
    # peft's own default is a random spectrum, with which the features start elsewhere.
    Tuner(
        "fourierft",
        counts.fourierft,
        ("n_frequency", "scaling", "random_loc_seed"),
        fixed={"init_weights": True},
    ),
    Tuner("ln_tuning", counts.norm),
    Tuner("hira", counts.low_rank, ("r", "hira_dropout")),
    Tuner("delora", counts.delora, ("r", "delora_lambda", "module_dropout")),
    Tuner("miss", counts.miss, ("r", "miss_dropout")),
    Tuner("road", counts.road, ("variant", "group_size")),
    Tuner("c3a", counts.c3a, ("block_size",), fixed={"init_weights": True}, defaults={"block_size": 64}),
)
TUNERS = {tuner.name: tuner for tuner in _OFFERED}
LORA = Tuner("lora", counts.low_rank, _LORA, peft_type="LORA", convolutions="all")
"""LoRA itself, which is a strategy of its own and not offered under ``peft``."""

# Least value of the options that count something, where peft checks late or not at all.
_LEAST = {
    **dict.fromkeys(("r", "init_r", "target_r", "deltaT", "n_frequency", "block_size", "group_size"), 1),
    **dict.fromkeys(("tinit", "tfinal", "orth_reg_weight", "boft_block_size", "boft_block_num"), 0),
    "num_cayley_neumann_terms": 2,
    "decompose_factor": -1,
}


def find_tuner(name: str) -> Tuner:
    """The tuner of that name.

    Raises:
        PeftCorrError: if there is none, or if it is one of peft's that has no closed form here.
    """
    if name not in TUNERS:
        if name.upper() in PEFT_TYPE_TO_CONFIG_MAPPING and name != "lora":
            raise PeftCorrError(
                f"strategy.tuner {shown(name)} is one of peft's, but peftcorr has no closed form of what it trains: "
                f"choose one of {', '.join(sorted(TUNERS))}."
            )
        hint = " LoRA itself is the strategy lora." if name == "lora" else did_you_mean(name, TUNERS)
        raise PeftCorrError(f"There is no strategy.tuner {shown(name)}.{hint}")
    return TUNERS[name]


def complete_options(tuner: Tuner, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a tuner: those given, and the defaults of the rest, so that a record says them.

    Raises:
        PeftCorrError: if one is unknown, of another type, or out of range.
    """
    types = get_type_hints(tuner.config_class)
    for key, value in given.items():
        if key not in tuner.options:
            hint = did_you_mean(key, tuner.options) if tuner.options else " It has none."
            raise PeftCorrError(
                f"The tuner {tuner.name} has no option {shown(key)} in strategy.options.{hint}"
            )
        _check(tuner.name, key, value, types[key])
    fields = tuner.config_class.__dataclass_fields__
    defaults = {key: tuner.defaults.get(key, fields[key].default) for key in tuner.options}
    options = {**defaults, **given}
    _check_together(tuner.name, options)
    try:
        tuner.config(options, target_modules="any")
    except (ValueError, TypeError) as error:
        raise PeftCorrError(
            f"strategy.options of the tuner {tuner.name}: {reason(error).rstrip('.!')}."
        ) from error
    return options


def _check(name: str, key: str, value: Any, annotation: Any) -> None:
    def wrong(what: str) -> PeftCorrError:
        return PeftCorrError(f"strategy.options.{key} of the tuner {name} is {shown(value)}: {what}.")

    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"]
        raise wrong(first[0].lower() + first[1:].replace("Input", "input")) from error
    if key in _LEAST and not (key == "r" and name == "oft") and value < _LEAST[key]:
        raise wrong(f"it must be at least {_LEAST[key]}")
    if "dropout" in key and not isinstance(value, bool) and not 0 <= value < 1:
        raise wrong("it must be at least 0 and less than 1")
    if key in ("beta1", "beta2") and not 0 < value < 1:
        raise wrong("it must lie between 0 and 1")


def _check_together(name: str, options: Mapping[str, Any]) -> None:
    if name == "adalora" and options["init_r"] <= options["target_r"]:
        raise PeftCorrError(
            f"strategy.options of the tuner adalora has init_r {options['init_r']} and target_r "
            f"{options['target_r']}: init_r, from which ranks are taken away, must be the larger."
        )
    if name == "road" and options["variant"] not in ("road_1", "road_2", "road_4"):
        raise PeftCorrError(
            f"strategy.options.variant of the tuner road is {shown(options['variant'])}: choose road_1, road_2 or "
            "road_4."
        )
    for tuner, one, other in (("oft", "r", "oft_block_size"), ("boft", "boft_block_num", "boft_block_size")):
        if name == tuner and (
            min(options[one], options[other]) < 0 or bool(options[one]) == bool(options[other])
        ):
            raise PeftCorrError(
                f"strategy.options of the tuner {name} has {one} {options[one]} and {other} {options[other]}: set one "
                "of them, and the other to 0."
            )
