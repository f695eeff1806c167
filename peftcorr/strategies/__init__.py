"""Strategies: ways to adapt a backbone with few parameters; naming them imports none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peftcorr.registry import Registry

if TYPE_CHECKING:
    from peftcorr.strategies.base import Strategy
else:

    def __getattr__(name: str) -> Any:
        """Import the contract, and torch with it, when it is first asked for."""
        if name != "Strategy":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from peftcorr.strategies import base

        return base.Strategy


__all__ = ["STRATEGIES", "Strategy"]

STRATEGIES: Registry[Strategy] = Registry(
    "strategy", "peftcorr.strategies", "peftcorr.strategies.base:Strategy"
)
for _name, _target, _summary in (
    ("frozen", "frozen:Frozen", "The pretrained backbone as it is."),
    ("last_k", "last_k:LastK", "The last k blocks in full, and the final norm."),
    (
        "lora",
        "lora:Lora",
        "A low-rank update W + (alpha / rank) B A of chosen linear layers or convolutions.",
    ),
    (
        "adapter",
        "adapter:Adapter",
        "Serial bottlenecks after attention and after the MLP, before each residual addition.",
    ),
    (
        "adaptformer",
        "adaptformer:AdaptFormer",
        "A scaled bottleneck in parallel to the MLP of every block.",
    ),
    ("bitfit", "bitfit:BitFit", "Every bias of the chosen blocks, norms included."),
    ("norm", "norm:Norm", "Weights and biases of every norm layer of the chosen blocks."),
    ("full", "full:Full", "All parameters that take part in the features, the embeddings included."),
    (
        "ssf",
        "ssf:Ssf",
        "Scale and shift the output of every linear layer, norm and convolution of the chosen blocks.",
    ),
    ("vpt", "vpt:Vpt", "Learned tokens beside the patches; features do not start as they were."),
    ("head", "head:Head", "A projection of the frozen features, linear or with one hidden layer."),
    (
        "peft",
        "tuners.peft_strategies:PeftTuner",
        "A tuner of Hugging Face peft, by name, with that tuner's own options.",
    ),
    (
        "dora",
        "tuners.peft_strategies:Dora",
        "DoRA: a low-rank update of the weights' directions, and their magnitudes.",
    ),
    ("rslora", "tuners.peft_strategies:RsLora", "rsLoRA: LoRA scaled by alpha over the root of the rank."),
    (
        "adalora",
        "tuners.peft_strategies:AdaLora",
        "AdaLoRA: low-rank updates whose ranks are taken away where they matter least.",
    ),
    ("loha", "tuners.peft_strategies:LoHa", "LoHa: the entrywise product of two low-rank updates."),
    ("lokr", "tuners.peft_strategies:LoKr", "LoKr: an update that is a Kronecker product."),
    ("oft", "tuners.peft_strategies:Oft", "OFT: the inputs of layers rotated in blocks."),
    (
        "boft",
        "tuners.peft_strategies:Boft",
        "BOFT with one butterfly factor: inputs rotated in blocks, outputs scaled.",
    ),
    ("hra", "tuners.peft_strategies:Hra", "HRA: the inputs of layers reflected a few times."),
    ("ia3", "tuners.peft_strategies:Ia3", "(IA)^3: keys, values and the MLP's inner activations scaled."),
    (
        "vera",
        "tuners.peft_strategies:Vera",
        "VeRA: two vectors a layer around random matrices that all layers share.",
    ),
    (
        "fourierft",
        "tuners.peft_strategies:FourierFt",
        "FourierFT: a few Fourier coefficients of each update.",
    ),
    (
        "ln_tuning",
        "tuners.peft_strategies:LnTuning",
        "LayerNorm tuning: the weights and biases of the blocks' norms.",
    ),
):
    STRATEGIES.lazy(_name, f"peftcorr.strategies.{_target}", _summary)
STRATEGIES.family("+", "peftcorr.strategies.combined:combined")
