"""What the embedded backbone learns: to find in one view of a picture what a patch of another view shows.

In a second phase its features must also give back what each patch looks like; see ``settings.Appearance``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from pretrain.settings import Architecture


def matching_loss(first: Tensor, second: Tensor, overlap: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each patch's similarity map against where it truly lies, both ways.

    The candidates are the patches of one picture only. Other pictures would be easy negatives and, worse, would
    push apart the same part of two objects.

    Args:
        first: (B, P, C) patch features of one view.
        second: (B, P, C) of the other.
        overlap: (B, P, P) weights, first view's patches by the second's.
        temperature: of the softmax over cosine similarities.
    """
    similarity = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).mT / temperature
    forth = _cross_entropy(similarity, overlap)
    back = _cross_entropy(similarity.mT, overlap.mT)
    return (forth + back) / 2


def _cross_entropy(similarity: Tensor, weights: Tensor) -> Tensor:
    mass = weights.sum(dim=-1)
    known = mass > 0.3
    target = weights[known] / mass[known, None]
    return -(target * torch.log_softmax(similarity[known], dim=-1)).sum(dim=-1).mean()


class Heads(nn.Module):
    """What reads the features in the second phase, and is thrown away after it.

    Args:
        width: channels of the features.
        values: numbers that describe a patch, at most `width`.
        seed: of the decoder's fixed directions.
    """

    decoder: Tensor

    def __init__(self, width: int, values: int, seed: int):
        super().__init__()
        self.matching = nn.Linear(width, width)
        nn.init.eye_(self.matching.weight)
        nn.init.zeros_(self.matching.bias)
        directions = torch.randn(width, width, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("decoder", torch.linalg.qr(directions)[0][:, :values].contiguous())
        self.offset = nn.Parameter(torch.zeros(values))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, C) to what is matched, (B, P, C), and what patches look like, (B, P, values)."""
        return self.matching(tokens), tokens @ self.decoder + self.offset


class Learner(nn.Module):
    """The backbone and, in the second phase, the heads on it."""

    def __init__(self, backbone: Dinov2Model, heads: Heads | None = None):
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, 3, S, S) to patch features (B, P, C) and the heads' reading of the patches, float32."""
        tokens = self.backbone(views).last_hidden_state[:, 1:].float()
        return (tokens, None) if self.heads is None else self.heads(tokens)


def appearance(views: Tensor, patch: int, pixels: int) -> Tensor:
    """What each patch looks like: (B, 3, S, S) to (B, P, 3 pixels²), every patch averaged to pixels by pixels."""
    small = F.avg_pool2d(views, patch // pixels)
    return F.unfold(small, pixels, stride=pixels).mT


def build_model(architecture: Architecture) -> Dinov2Model:
    """An untrained backbone."""
    config = Dinov2Config(
        hidden_size=architecture.width,
        num_hidden_layers=architecture.blocks,
        num_attention_heads=architecture.heads,
        patch_size=architecture.patch,
        image_size=architecture.image_size,
        layerscale_value=architecture.layer_scale,
    )
    return Dinov2Model(config)


@torch.no_grad()
def initialise(model: Dinov2Model, architecture: Architecture, seed: int) -> None:
    """Start attention where training would take long to bring it: each token attends to itself and its like.

    Queries and keys share one random projection, so a logit is a similarity of tokens, and the position
    embeddings are sinusoids of several wavelengths, so near tokens are alike. After Trockman and Kolter,
    "Mimetic Initialization of Self-Attention Layers" (2023, arXiv:2305.09828).
    """
    generator = torch.Generator().manual_seed(seed)
    width, head = architecture.width, architecture.width // architecture.heads
    for name, weight in model.encoder.named_parameters():
        if weight.ndim == 2:
            nn.init.trunc_normal_(weight, std=architecture.weight_deviation, generator=generator)
        if name.endswith("q_proj.weight"):
            rows = [
                torch.linalg.qr(torch.randn(width, width, generator=generator))[0][:head]
                for _ in range(architecture.heads)
            ]
            weight.copy_(architecture.attention_gain * torch.cat(rows))
    state = dict(model.named_parameters())
    for name, weight in state.items():
        if name.endswith("k_proj.weight"):
            weight.copy_(state[name.replace("k_proj", "q_proj")])
    side = architecture.image_size // architecture.patch
    model.embeddings.position_embeddings[0, 1:] = 0.3 * _sinusoids(side, width)
    model.embeddings.mask_token.requires_grad_(False)  # no token is masked: it would never get a gradient


def _sinusoids(side: int, width: int) -> Tensor:
    """(side², width), a quarter of the channels each for sine and cosine of x and of y."""
    frequency = math.pi / side * torch.exp(torch.linspace(math.log(0.5), math.log(side), width // 4))
    angle = torch.arange(side)[:, None] * frequency
    line = torch.cat([angle.sin(), angle.cos()], dim=1)
    across = line[None].expand(side, side, -1)
    down = line[:, None].expand(side, side, -1)
    return torch.cat([across, down], dim=-1).reshape(side * side, width)
