"""Prompts to text embeddings, each computed once. The text encoders are those of CLIP.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from peftcorr.errors import PeftCorrError, shown

CATEGORY = "{category}"


def fill(template: str, category: str) -> str:
    """A prompt with the category's name in its place."""
    return template.replace(CATEGORY, category)


class PromptEncoder(nn.Module):
    """A text encoder, which is never trained, and the embeddings that it gave.

    Args:
        model: transformers' ``CLIPTextModel``.
        tokenizer: its tokenizer; None with a model on the meta device.
        pad_token: what fills a prompt up to the model's length, as in pretraining.
    """

    never_trained = True
    vocabulary: Tensor

    def __init__(self, model: Any, tokenizer: Any | None, pad_token: str):
        super().__init__()
        self.model = model
        self._tokenizer, self._pad_token = tokenizer, pad_token
        self._known: dict[str, Tensor] = {}
        # The vocabulary decides about features too: as a buffer it is part of what names cached ones.
        words = {} if tokenizer is None else tokenizer.get_vocab()
        digest = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).digest()
        self.register_buffer("vocabulary", torch.tensor(list(digest), dtype=torch.uint8))

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings (B, T, D) of B prompts, float32.

        Raises:
            PeftCorrError: if one is longer than the model reads.
        """
        device = self.vocabulary.device
        if device.type == "meta":
            shape = (len(prompts), self.model.config.max_position_embeddings, self.model.config.hidden_size)
            return torch.empty(shape, device=device)
        for prompt in dict.fromkeys(prompts):
            if prompt not in self._known:
                self._known[prompt] = self._embed(prompt)
        return torch.cat([self._known[prompt].to(device) for prompt in prompts])

    def _embed(self, prompt: str) -> Tensor:
        """One prompt (1, T, D): alone, and always in float32, so that it does not depend on who asked first."""
        assert self._tokenizer is not None
        length = self.model.config.max_position_embeddings
        tokens: list[int] = self._tokenizer(prompt).input_ids
        if len(tokens) > length:
            raise PeftCorrError(
                f"backbone.prompt gives {shown(prompt)}, which is {len(tokens)} tokens, but the text encoder reads "
                f"{length}: shorten it."
            )
        tokens += [self._tokenizer.convert_tokens_to_ids(self._pad_token)] * (length - len(tokens))
        device = self.vocabulary.device
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
            embedded: Tensor = self.model(input_ids=torch.tensor([tokens], device=device)).last_hidden_state
        return embedded
