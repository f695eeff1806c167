"""Strategies: ways to adapt a backbone with few parameters."""

from peftcorr.strategies.base import STRATEGIES, Strategy

STRATEGIES.lazy("frozen", "peftcorr.strategies.frozen:Frozen")
STRATEGIES.lazy("last_k", "peftcorr.strategies.last_k:LastK")
STRATEGIES.lazy("lora", "peftcorr.strategies.lora:Lora")
STRATEGIES.lazy("adapter", "peftcorr.strategies.adapter:Adapter")
STRATEGIES.lazy("adaptformer", "peftcorr.strategies.adaptformer:AdaptFormer")

__all__ = ["STRATEGIES", "Strategy"]
