"""AdaLoRA's schedule of ranks. Zhang et al., "Adaptive Budget Allocation for PEFT", ICLR 2023.

Each update is B diag(E) A. As training goes on, entries of E that matter least are set to zero until `target_r` a
layer are left on average. peft computes importance and budget; this file calls it where its own trainer would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from peft import AdaLoraConfig
from peft.tuners.adalora import RankAllocator
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.tuners.injection import ADAPTER


class _Allocator(RankAllocator):  # type: ignore[misc]
    """peft's, for AdaLoRA's layers alone, whose masks stay on the device.

    peft counts in whatever is called as LoRA's matrices are, another LoRA beside this one too. Its masks are copied to
    the host one a layer and step, and waited for.
    """

    def _set_budget_scheduler(self, model: Any) -> None:
        own = {name: tensor for name, tensor in model.named_parameters() if f"lora_E.{ADAPTER}" in name}
        self.name_set = sorted(name.replace("lora_E", "%s") for name in own)
        self.init_bgt = sum(len(tensor) for tensor in own.values())
        self.target_bgt = self.peft_config.target_r * len(own)

    def update_ipt(self, model: Any) -> None:
        """Learn from the gradients how much each entry matters."""
        super().update_ipt(_Named({n: p for n, p in model.named_parameters() if self._is_own(n)}))

    def _is_own(self, name: str) -> bool:
        return any(name.replace(part, "%s") in self.name_set for part in ("lora_A", "lora_B", "lora_E"))

    def mask_to_budget(self, model: Any, budget: int) -> dict[str, Tensor]:
        """Set to zero the entries of E that matter least; returns which are kept, bool (r,), by name."""
        scores = {}
        for name in self.name_set:
            down, up = self._element_score(name % "lora_A"), self._element_score(name % "lora_B")
            both = torch.stack((down.mean(1), up.mean(0)), 1)
            scores[name % "lora_E"] = self._combine_ipt(self._element_score(name % "lora_E"), both)
        least = torch.kthvalue(torch.cat(list(scores.values())), self.init_bgt - budget).values
        kept = {name: ~(score <= least) for name, score in scores.items()}
        self.mask_using_rank_pattern(model, kept)
        return kept

    def mask_using_rank_pattern(self, model: Any, rank_pattern: dict[str, Tensor]) -> None:
        """Set to zero what an earlier step did not keep."""
        with torch.no_grad():
            for name, kept in rank_pattern.items():
                model.get_parameter(name).masked_fill_(~kept.unsqueeze(1), 0.0)


class _Named:
    """Parameters by name, as peft asks a model for them."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]):
        self._parameters = parameters

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:
        """All of them."""
        return self._parameters.items()


class RankSchedule:
    """Takes ranks away step by step, over as many steps as the training has.

    The state that validation selects may be of a step at which more ranks were left than `target_r`.
    """

    def __init__(self, options: Mapping[str, Any]):
        self._options = options
        self._allocator: _Allocator | None = None
        self._kept: dict[str, Tensor] = {}

    def penalty(self, backbone: Backbone, layers: Sequence[str]) -> Tensor:
        """`orth_reg_weight` times the mean over all A and B of || P P^T - I ||, which keeps them near orthogonal."""
        terms = []
        for name in layers:
            layer: Any = backbone.get_submodule(name)
            for rows in (layer.lora_A[ADAPTER], layer.lora_B[ADAPTER].T):
                gram = rows @ rows.T
                terms.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)))
        return float(self._options["orth_reg_weight"]) * torch.stack(terms).mean()

    def after_step(self, backbone: Backbone, step: int, steps: int) -> None:
        """Learn from the gradients of `step` (from 1), and set to zero what the budget no longer allows.

        Raises:
            PeftCorrError: at the first step, if the training is too short for the options.
        """
        if step == 1 or self._allocator is None:
            self._begin(backbone, steps)
        assert self._allocator is not None
        last = steps - self._options["tfinal"]
        if step <= last:
            _, kept = self._allocator.update_and_allocate(backbone, step, force_mask=step == last)
            self._kept = kept or self._kept
        else:
            self._allocator.mask_using_rank_pattern(backbone, self._kept)

    def _begin(self, backbone: Backbone, steps: int) -> None:
        tinit, tfinal = self._options["tinit"], self._options["tfinal"]
        if steps < tinit + tfinal + 2:
            raise PeftCorrError(
                f"AdaLoRA needs at least two steps between tinit {tinit} and the last tfinal {tfinal}, but the "
                f"training has {steps} steps: train longer, or lower strategy.options.tinit or strategy.options.tfinal."
            )
        config = AdaLoraConfig(**self._options, total_step=steps)
        self._allocator, self._kept = _Allocator(backbone, config, ADAPTER), {}

    def state(self) -> dict[str, Tensor]:
        """What a training that is taken up again must know beside the tensors themselves."""
        if self._allocator is None:
            return {}
        averages = {"ipt": self._allocator.exp_avg_ipt, "unc": self._allocator.exp_avg_unc}
        state = {
            f"{kind}:{name}": value.cpu()
            for kind, values in averages.items()
            for name, value in values.items()
        }
        state["steps"] = torch.tensor(self._allocator.peft_config.total_step)
        return state | {f"kept:{name}": kept.cpu() for name, kept in self._kept.items()}

    def load(self, backbone: Backbone, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        self._begin(backbone, int(state["steps"]))
        assert self._allocator is not None
        device = next(backbone.parameters()).device
        for key, value in state.items():
            kind, _, name = key.partition(":")
            if kind == "kept":
                self._kept[name] = value.to(device)
            elif name:
                averages = self._allocator.exp_avg_ipt if kind == "ipt" else self._allocator.exp_avg_unc
                averages[name] = value.to(device)
                self._allocator.ipt[name] = torch.zeros_like(averages[name])  # says that the name is known
