"""Strategies: ways to adapt a backbone with few parameters."""

from peftcorr.strategies.base import STRATEGIES, Strategy

STRATEGIES.lazy("frozen", "peftcorr.strategies.frozen:Frozen")
STRATEGIES.lazy("last_k", "peftcorr.strategies.last_k:LastK")
STRATEGIES.lazy("lora", "peftcorr.strategies.lora:Lora")
STRATEGIES.lazy("adapter", "peftcorr.strategies.adapter:Adapter")
STRATEGIES.lazy("adaptformer", "peftcorr.strategies.adaptformer:AdaptFormer")
STRATEGIES.lazy("bitfit", "peftcorr.strategies.bitfit:BitFit")
STRATEGIES.lazy("norm", "peftcorr.strategies.norm:Norm")
STRATEGIES.lazy("full", "peftcorr.strategies.full:Full")
STRATEGIES.lazy("ssf", "peftcorr.strategies.ssf:Ssf")
STRATEGIES.lazy("vpt", "peftcorr.strategies.vpt:Vpt")
STRATEGIES.lazy("head", "peftcorr.strategies.head:Head")
STRATEGIES.lazy("peft", "peftcorr.strategies.tuners.peft_strategies:PeftTuner")
for _name, _class in (
    ("dora", "Dora"),
    ("rslora", "RsLora"),
    ("adalora", "AdaLora"),
    ("loha", "LoHa"),
    ("lokr", "LoKr"),
    ("oft", "Oft"),
    ("boft", "Boft"),
    ("hra", "Hra"),
    ("ia3", "Ia3"),
    ("vera", "Vera"),
    ("fourierft", "FourierFt"),
    ("ln_tuning", "LnTuning"),
):
    STRATEGIES.lazy(_name, f"peftcorr.strategies.tuners.peft_strategies:{_class}")
STRATEGIES.family("+", "peftcorr.strategies.combined:combined")

__all__ = ["STRATEGIES", "Strategy"]
