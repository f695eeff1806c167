"""One strategy over Hugging Face peft's tuners; each common one also under a name of its own.

DoRA (Liu et al., ICML 2024), rsLoRA (Kalajdzievski, 2023), AdaLoRA (Zhang et al., ICLR 2023), LoHa (Hyeon-Woo et al.,
"FedPara", ICLR 2022), LoKr (Edalati et al., "KronA", 2022), OFT (Qiu et al., NeurIPS 2023), BOFT (Liu et al., ICLR
2024), HRA (Yuan et al., NeurIPS 2024), (IA)^3 (Liu et al., NeurIPS 2022), VeRA (Kopiczko et al., ICLR 2024), FourierFT
(Gao et al., ICML 2024), LayerNorm tuning (Zhao et al., ICLR 2024), and what else is in the `catalogue`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from peftcorr.backbones.base import Backbone, BlockSites
from peftcorr.errors import PeftCorrError, reason
from peftcorr.strategies.base import Blocks, BlockStrategy, layers_of
from peftcorr.strategies.pretrained import pretrained_modules
from peftcorr.strategies.tuners.adalora import RankSchedule
from peftcorr.strategies.tuners.catalogue import Tuner, complete_options, find_tuner
from peftcorr.strategies.tuners.counts import Unfit, is_norm, shape_of
from peftcorr.strategies.tuners.injection import base_layer, inject_tuner, pattern, refusal
from peftcorr.strategies.tuners.peft_format import PeftForm, peft_form

Role = Literal["q", "k", "v", "out", "fc1", "fc2", "conv"]


class PeftStrategy(BlockStrategy):
    """Layers of the chosen blocks, wrapped with peft's.

    Args:
        config: has ``targets`` (roles of the layers; None: the norms) and ``blocks``.
        tuner: the method.
        options: all that the tuner has.
    """

    def __init__(self, config: Any, tuner: Tuner, options: Mapping[str, Any]):
        super().__init__(config)
        self.tuner, self.options = tuner, options

    def targets(self, backbone: Backbone) -> list[str]:
        """Full names of the layers that are adapted."""
        if self.config.targets is None:
            return [name for site in self.sites(backbone) for name in _norms(backbone, site)]
        return layers_of(backbone, self.config.blocks, self.config.targets)

    def _feedforward(self, backbone: Backbone) -> list[str]:
        """Of the targets, those that (IA)^3 scales at their input: the last layers of the MLPs."""
        if self.tuner.name != "ia3" or "fc2" not in self.config.targets:
            return []
        return layers_of(backbone, self.config.blocks, ["fc2"])

    def _peft_config(self, targets: Any, feedforward: Any) -> PeftConfig:
        named = {"feedforward_modules": feedforward} if self.tuner.name == "ia3" else {}
        return self.tuner.config(self.options, target_modules=targets, **named)

    def apply(self, backbone: Backbone) -> None:
        """Wrap the targets with peft's layers; `peftcorr.strategies.tuners.catalogue` says how features start.

        Raises:
            PeftCorrError: if a layer cannot be adapted: it does not fit the options, or peft does not take it (a
                dilated convolution, for example), or another strategy has it.
        """
        names, feedforward = self.targets(backbone), self._feedforward(backbone)
        self.expected_parameters(backbone)  # names a layer that does not fit in our words
        if self.tuner.name == "ln_tuning":
            _refuse_used_norms(backbone, names)
        config = self._peft_config(pattern(names), pattern(feedforward) if feedforward else [])
        inject_tuner(backbone, config, self.tuner.name, names)

    def expected_parameters(self, backbone: Backbone) -> int:
        """Sum over the targets of the tuner's closed form, `peftcorr.strategies.tuners.counts`."""
        last = set(self._feedforward(backbone))
        return sum(self._count(backbone, name, name in last) for name in self.targets(backbone))

    def _count(self, backbone: Backbone, name: str, feedforward: bool) -> int:
        try:
            return self.tuner.parameters(shape_of(base_layer(backbone, name), feedforward), self.options)
        except Unfit as reason:
            raise refusal(self.tuner.name, name, str(reason)) from None

    def merge(self, backbone: Backbone) -> None:
        """Fold the adapters into the weights, as peft does, and take its layers out.

        Raises:
            PeftCorrError: if a layer carries none, or if peft has no merge for it.
        """
        for name in self.targets(backbone):
            layer: Any = backbone.get_submodule(name)
            if not isinstance(layer, BaseTunerLayer):
                raise PeftCorrError(
                    f"This backbone carries no {self.tuner.name} to merge: apply the strategy first."
                )
            try:
                layer.merge(safe_merge=True)
            except (ValueError, NotImplementedError) as error:
                why = reason(error).rstrip(".!")
                raise PeftCorrError(
                    f"The tuner {self.tuner.name} cannot be merged into {name} ({why}): keep the adapter beside "
                    "the model."
                ) from error
            backbone.set_submodule(name, layer.get_base_layer())

    def peft_form(self, backbone: Backbone) -> PeftForm | None:
        """See `Strategy.peft_form`."""
        return peft_form(backbone, self._peft_config, self.targets(backbone), self._feedforward(backbone))


class PeftTuner(PeftStrategy):
    """A tuner of Hugging Face peft, by name, with that tuner's own options."""

    class Config(PeftStrategy.Config):
        """Options of ``peft``."""

        tuner: str = Field(default="dora", description="peft's method")
        options: dict[str, Any] = Field(
            default={}, validate_default=True, description="the tuner's own options, by peft's names"
        )
        targets: list[Role] | None = Field(
            default=None,
            min_length=1,
            validate_default=True,
            description="roles of the adapted layers: q and v unless said (ia3: k, v and fc2); none for ln_tuning",
        )
        blocks: Blocks = "all"

        @field_validator("tuner")
        @classmethod
        def _known(cls, tuner: str) -> str:
            find_tuner(tuner)
            return tuner

        @field_validator("options")
        @classmethod
        def _completed(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
            tuner = info.data.get("tuner")
            return complete_options(find_tuner(tuner), options) if tuner is not None else options

        @field_validator("targets")
        @classmethod
        def _roles(cls, targets: list[Role] | None, info: ValidationInfo) -> list[Role] | None:
            tuner = info.data.get("tuner")
            if tuner == "ln_tuning":
                if targets is not None:
                    raise ValueError("ln_tuning trains the norms of the blocks and takes no targets")
                return None
            if targets is not None and len(set(targets)) < len(targets):
                raise ValueError("each target may be named once")
            return targets or (["k", "v", "fc2"] if tuner == "ia3" else ["q", "v"])

    config: Config

    def __init__(self, config: Config):
        super().__init__(config, find_tuner(config.tuner), config.options)
        self._ranks = RankSchedule(config.options) if config.tuner == "adalora" else None

    def penalty(self, backbone: Backbone) -> Tensor | None:
        """AdaLoRA's regulariser."""
        return self._ranks.penalty(backbone, self.targets(backbone)) if self._ranks is not None else None

    def after_step(self, backbone: Backbone, step: int, steps: int) -> None:
        """AdaLoRA takes ranks away as training goes on."""
        if self._ranks is not None:
            self._ranks.after_step(backbone, step, steps)

    def training_state(self) -> dict[str, Tensor]:
        """AdaLoRA's averaged importance."""
        return self._ranks.state() if self._ranks is not None else {}

    def load_training_state(self, backbone: Backbone, state: dict[str, Tensor]) -> None:
        """See `Strategy.load_training_state`."""
        if self._ranks is not None:
            self._ranks.load(backbone, state)


def _norms(backbone: Backbone, site: BlockSites) -> list[str]:
    """Names of the norms in a block.

    Raises:
        PeftCorrError: if it has none.
    """
    modules = pretrained_modules(backbone.get_submodule(site.block), site.block)
    found = [name for name, module in modules.items() if is_norm(module)]
    if not found:
        raise PeftCorrError(
            f"The tuner ln_tuning finds no norm in {site.block}: choose other blocks or another tuner."
        )
    return found


def _refuse_used_norms(backbone: Backbone, names: list[str]) -> None:
    """peft copies a norm to train the copy: with it, whatever another strategy hung on it or left trainable."""
    for name in names:
        norm = base_layer(backbone, name)
        hooked = norm._forward_hooks or norm._forward_pre_hooks
        if hooked or any(parameter.requires_grad for parameter in norm.parameters()):
            raise PeftCorrError(
                f"The tuner ln_tuning cannot take {name}, which another strategy uses already: put ln_tuning first, or "
                "give the two different blocks."
            )


def _named(tuner_name: str, title: str, documentation: str) -> type[PeftTuner]:
    """A strategy that is one tuner: the same class with another default."""

    class Named(PeftTuner):
        class Config(PeftTuner.Config):
            tuner: str = Field(default=tuner_name, description="peft's method: this one alone")

            @field_validator("tuner")
            @classmethod
            def _this(cls, tuner: str) -> str:
                if tuner != tuner_name:
                    raise ValueError(
                        f"the strategy {tuner_name} is that tuner alone; the strategy peft has others"
                    )
                return tuner

    Named.__name__ = Named.__qualname__ = title
    Named.__doc__ = documentation
    return Named


Dora = _named("dora", "Dora", "DoRA: a low-rank update of the weights' directions, and their magnitudes.")
RsLora = _named("rslora", "RsLora", "rsLoRA: LoRA scaled by alpha over the root of the rank.")
AdaLora = _named(
    "adalora", "AdaLora", "AdaLoRA: low-rank updates whose ranks are taken away where they matter least."
)
LoHa = _named("loha", "LoHa", "LoHa: the entrywise product of two low-rank updates.")
LoKr = _named("lokr", "LoKr", "LoKr: an update that is a Kronecker product.")
Oft = _named("oft", "Oft", "OFT: the inputs of layers rotated in blocks.")
Boft = _named("boft", "Boft", "BOFT with one butterfly factor: inputs rotated in blocks, outputs scaled.")
Hra = _named("hra", "Hra", "HRA: the inputs of layers reflected a few times.")
Ia3 = _named("ia3", "Ia3", "(IA)^3: keys, values and the MLP's inner activations scaled.")
Vera = _named("vera", "Vera", "VeRA: two vectors a layer around random matrices that all layers share.")
FourierFt = _named("fourierft", "FourierFt", "FourierFT: a few Fourier coefficients of each update.")
LnTuning = _named("ln_tuning", "LnTuning", "LayerNorm tuning: the weights and biases of the blocks' norms.")
