"""The vision transformers of DINOv3.

Siméoni et al., "DINOv3", 2025 (arXiv:2508.10104). The models are those of transformers. Their shapes are those that
transformers' conversion of the published checkpoints prescribes and timm's definitions repeat; the tests hold them
to the latter. The ConvNeXts distilled from the same teacher are in `peftcorr.backbones.dinov3_convnext`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites, TokenState, check_size, parameters_of
from peftcorr.backbones.identity import Weights
from peftcorr.backbones.loading import fetch, load_transformers
from peftcorr.backbones.saving import save_transformers

# Those that no tensor's shape would give away (activation, epsilon, rotary base) change the features in silence.
_SHAPE_KEYS = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "use_gated_mlp",
    "hidden_act",
    "patch_size",
    "num_register_tokens",
    "query_bias",
    "key_bias",
    "value_bias",
    "proj_bias",
    "mlp_bias",
    "layer_norm_eps",
    "rope_theta",
)


@dataclass(frozen=True)
class Variant:
    """The shape of one published model.

    Attributes:
        hidden: width inside the MLP; a gated MLP has two layers of it.
        query_value_bias: whether queries and values have a bias; keys never do.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    gated_mlp: bool = False
    query_value_bias: bool = True
    registers: int = 4
    patch: int = 16


class Dinov3ViT(Backbone):
    """A DINOv3 vision transformer; features are the patch tokens after the final norm.

    A block with the plain MLP of ratio 4 has 12 D^2 + 14 D parameters: DINOv2's without the bias of the keys.
    """

    class Config(Backbone.Config):
        """Options of the ``dinov3_vit`` backbones."""

        image_size: int = Field(
            default=512,
            gt=0,
            description="side of the square input, in pixels, a multiple of 16; 512 gives 32 x 32 patches",
        )

    variant: ClassVar[Variant]
    model: Any
    licence = "DINOv3 License"

    def __init__(self, config: Backbone.Config, model: Any):
        super().__init__(config)
        # Only masked pretraining reads it: a dead parameter must be neither counted nor trained.
        model.embeddings.mask_token = None
        _make_deterministic(model)
        model.requires_grad_(False)
        self.model = model
        self.stride = self.variant.patch
        self.channels = self.variant.width
        self.leading_tokens = 1 + self.variant.registers
        model.model.layer = model.model.layer[: self.tapped(self.variant.depth)]
        self._sites = [self._block_sites(index) for index in range(len(model.model.layer))]

    @classmethod
    def architecture(cls) -> tuple[type[Any], Any]:
        """The transformers class and its configuration, written out so that no hub has to be asked."""
        variant = cls.variant
        config = transformers.DINOv3ViTConfig(
            hidden_size=variant.width,
            num_hidden_layers=variant.depth,
            num_attention_heads=variant.heads,
            intermediate_size=variant.hidden,
            use_gated_mlp=variant.gated_mlp,
            hidden_act="silu" if variant.gated_mlp else "gelu",
            patch_size=variant.patch,
            num_register_tokens=variant.registers,
            query_bias=variant.query_value_bias,
            key_bias=False,
            value_bias=variant.query_value_bias,
            proj_bias=True,
            mlp_bias=True,
            layer_norm_eps=1e-5,
            rope_theta=100.0,
        )
        return transformers.DINOv3ViTModel, config

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> Dinov3ViT:
        """See `Backbone.build`."""
        check_size(config.image_size, cls.variant.patch)
        model_class, expected = cls.architecture()
        if weights is None:
            with torch.device("meta"):
                return cls(config, model_class(expected))
        folder = fetch(weights.id) if weights.folder is None else weights.folder
        return cls(config, load_transformers(model_class, expected, folder, _SHAPE_KEYS))

    def blocks(self) -> Sequence[nn.Module]:
        """The encoder's layers."""
        return list(self.model.model.layer)

    def sites(self) -> list[BlockSites]:
        """See `Backbone.sites`."""
        return self._sites

    def _block_sites(self, index: int) -> BlockSites:
        block = f"model.model.layer.{index}"
        roles: dict[str, tuple[str, ...]] = {
            "q": ("attention.q_proj",),
            "k": ("attention.k_proj",),
            "v": ("attention.v_proj",),
            "out": ("attention.o_proj",),
            "fc1": ("mlp.gate_proj", "mlp.up_proj") if self.variant.gated_mlp else ("mlp.up_proj",),
            "fc2": ("mlp.down_proj",),
        }
        return BlockSites(
            block=block,
            width=self.variant.width,
            parameters=parameters_of(self.get_submodule(block)),
            linears={role: tuple(f"{block}.{name}" for name in names) for role, names in roles.items()},
            norm2=f"{block}.norm2",
            # One drop_path serves both branches, so a hook on it could not tell them apart.
            attention_output=f"{block}.layer_scale1",
            mlp_output=f"{block}.layer_scale2",
        )

    def final_norm(self) -> nn.Module:
        """The LayerNorm after the last block."""
        norm: nn.Module = self.model.norm
        return norm

    def save_pretrained(self, folder: Path) -> None:
        """See `Backbone.save_pretrained`: what transformers' ``DINOv3ViTModel`` loads."""
        # The class there has a place for the mask token, although only masked pretraining reads it.
        mask_token = torch.zeros((1, 1, self.variant.width))
        tensors = {**self.model.state_dict(), "embeddings.mask_token": mask_token}
        save_transformers(self.model.config, tensors, folder, num_hidden_layers=len(self.blocks()))

    def prefix(self, images: Tensor, k: int) -> TokenState:
        """See `Backbone.prefix`."""
        height, width = images.shape[-2] // self.stride, images.shape[-1] // self.stride
        state = TokenState(self.model.embeddings(images), height, width)
        return TokenState(self._run(state, self.blocks()[:k]), height, width)

    def tail(self, state: TokenState, k: int) -> Tensor:
        """See `Backbone.tail`: of an earlier block too, the tokens go through the final norm."""
        tokens = self._run(state, self.blocks()[k:])
        patches: Tensor = self.model.norm(tokens)[:, 1 + self.variant.registers :].float()
        return patches.transpose(1, 2).reshape(len(patches), -1, state.height, state.width)

    def _run(self, state: TokenState, blocks: Sequence[nn.Module]) -> Tensor:
        tokens = state.tokens
        rotations = self._rotations(state.height, state.width, tokens.device)
        for block in blocks:
            tokens = block(tokens, position_embeddings=rotations)
        return tokens

    def _rotations(self, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines (height x width, D / heads) of every patch's rotary angles.

        They follow from the grid alone, so a state need not carry them.
        """
        # The module asks an image for its shape, device and type only: one number, expanded, takes no memory.
        patch = self.variant.patch
        blank = torch.zeros((), device=device).expand(1, 3, height * patch, width * patch)
        cosines, sines = self.model.rope_embeddings(blank)
        return cosines, sines


def _make_deterministic(model: Any) -> None:
    """Switch off what the published configuration, or another, would draw at random in training mode.

    The pretraining moved and scaled the patches' coordinates at random; a frozen backbone must not, whatever mode
    it is in.
    """
    rotary = model.rope_embeddings.config
    rotary.pos_embed_shift = rotary.pos_embed_jitter = rotary.pos_embed_rescale = None
    for layer in model.model.layer:
        layer.drop_path = nn.Identity()
        layer.attention.dropout = 0.0


class Dinov3ViTS16(Dinov3ViT):
    """DINOv3 ViT-S/16."""

    variant = Variant(384, 12, 6, 1536)
    hub_id = "facebook/dinov3-vits16-pretrain-lvd1689m"


class Dinov3ViTS16Plus(Dinov3ViT):
    """DINOv3 ViT-S+/16: ViT-S with a gated MLP."""

    variant = Variant(384, 12, 6, 1536, gated_mlp=True)
    hub_id = "facebook/dinov3-vits16plus-pretrain-lvd1689m"


class Dinov3ViTB16(Dinov3ViT):
    """DINOv3 ViT-B/16."""

    variant = Variant(768, 12, 12, 3072)
    hub_id = "facebook/dinov3-vitb16-pretrain-lvd1689m"


class Dinov3ViTL16(Dinov3ViT):
    """DINOv3 ViT-L/16."""

    variant = Variant(1024, 24, 16, 4096)
    hub_id = "facebook/dinov3-vitl16-pretrain-lvd1689m"


class Dinov3ViTH16Plus(Dinov3ViT):
    """DINOv3 ViT-H+/16."""

    variant = Variant(1280, 32, 20, 5120, gated_mlp=True)
    hub_id = "facebook/dinov3-vith16plus-pretrain-lvd1689m"


class Dinov3ViT7B16(Dinov3ViT):
    """DINOv3 ViT-7B/16, the teacher of the others."""

    variant = Variant(4096, 40, 32, 8192, gated_mlp=True, query_value_bias=False)
    hub_id = "facebook/dinov3-vit7b16-pretrain-lvd1689m"
