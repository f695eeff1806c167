"""An adapter in peft's own format, for the plain model: ``adapter_config.json`` and ``adapter_model.safetensors``.

``peft.PeftModel.from_pretrained(model, folder)`` reads it, with `model` as its own library loads it, not peftcorr.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
from peft import PeftConfig
from safetensors.torch import save_file
from torch import Tensor

from peftcorr.backbones.base import Backbone
from peftcorr.backbones.fused import SplitLinear
from peftcorr.files import atomic_path
from peftcorr.strategies.tuners.injection import ADAPTER

_OURS, _THEIRS = "model.", "base_model.model."


@dataclass(frozen=True)
class PeftForm:
    """peft's Config and an adapter's tensors by peft's names."""

    config: PeftConfig
    tensors: dict[str, Tensor]

    def save(self, folder: Path, base_model: str) -> None:
        """Write both files.

        Args:
            base_model: id of the pretrained weights, for whoever finds the folder.

        Raises:
            PeftCorrError: if they cannot be written.
        """
        self.config.base_model_name_or_path = base_model
        self.config.inference_mode = True
        values = json.dumps(self.config.to_dict(), indent=2, sort_keys=True, default=sorted)  # some are sets
        with atomic_path(folder / "adapter_config.json") as path:
            path.write_text(values + "\n", encoding="utf-8")
        with atomic_path(folder / "adapter_model.safetensors") as path:
            save_file(self.tensors, path, metadata={"format": "pt"})


def peft_form(
    backbone: Backbone,
    config: Callable[[list[str], list[str]], PeftConfig],
    names: list[str],
    feedforward: list[str],
) -> PeftForm | None:
    """The adapter of these layers in peft's format.

    Args:
        config: peft's Config for target and feedforward layers by their names in the plain model.
        names, feedforward: the layers' names in the backbone.

    Returns:
        None if the plain model has no such layers: where fused projections were split, or of a backbone of several
        models.
    """
    split = tuple(f"{name}." for name, module in backbone.named_modules() if isinstance(module, SplitLinear))
    if not all(name.startswith(_OURS) and not name.startswith(split) for name in names):
        return None
    made = config(*([name.removeprefix(_OURS) for name in group] for group in (names, feedforward)))
    state: dict[str, Tensor] = dict(backbone.state_dict())
    for shared in ("vera_A", "vera_B"):  # held by each layer here, by the wrapper of the model in peft
        holder: Any = getattr(backbone.get_submodule(names[0]), shared, None)
        if holder is not None:
            state[f"base_model.{shared}.{ADAPTER}"] = holder[ADAPTER]
    backbone.__dict__["peft_config"] = {ADAPTER: made}
    try:
        own = peft.get_peft_model_state_dict(backbone, state, ADAPTER, save_embedding_layers=False)
    finally:
        del backbone.__dict__["peft_config"]
    layers = tuple(f"{name}." for name in names)
    tensors = {
        _THEIRS + name.removeprefix(_OURS): tensor for name, tensor in own.items() if name.startswith(layers)
    } | {name: tensor for name, tensor in own.items() if name.startswith("base_model.")}
    return PeftForm(made, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
