"""Images to noisy latents: where diffusion features begin.

The autoencoder is that of Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022;
noise is added by the forward process of Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

TIMESTEPS = 1000
_BETAS = (0.00085, 0.012)  # of the first and the last step; their roots lie evenly between


def signal_share(timestep: int) -> float:
    """The share of the variance that is still signal after `timestep`: the cumulated product of 1 - beta."""
    first, last = _BETAS
    betas = torch.linspace(first**0.5, last**0.5, TIMESTEPS, dtype=torch.float64, device="cpu") ** 2
    return float(torch.cumprod(1 - betas, 0)[timestep])


class NoisyLatents(nn.Module):
    """The encoder of the autoencoder, and noise that is the same for every image.

    Args:
        vae: diffusers' ``AutoencoderKL``, whose encoder is taken over. A latent is the mean of its distribution:
            drawing from that would make features depend on chance, by far less than the noise added later.
        timestep: how much noise is added.
        samples: noise samples an image.
        seed: decides the noise, with its shape and the sample's index.
    """

    def __init__(self, vae: Any, timestep: int, samples: int, seed: int):
        super().__init__()
        self.encoder = vae.encoder
        self.quant_conv = _mean_half(vae.quant_conv)
        self.samples = samples
        self._scale: float = vae.config.scaling_factor
        self._share = signal_share(timestep)
        self._seed = seed

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] to latents (B E, 4, H/8, W/8), the E samples of an image after each other."""
        latents = self._scale * self.quant_conv(self.encoder(images))
        noise = self.noise(tuple(latents.shape[1:]), latents)
        noisy: Tensor = self._share**0.5 * latents[:, None] + (1 - self._share) ** 0.5 * noise
        return noisy.flatten(0, 1)

    def noise(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Standard normal noise (E, *shape): of the seed, the shape and the sample's index, and of nothing else."""
        if like.is_meta:
            return torch.empty((self.samples, *shape), device=like.device)
        drawn = []
        for index in range(self.samples):
            digest = hashlib.sha256(f"{self._seed} {index}".encode()).digest()
            # The generator of the CPU: those of other devices draw other numbers.
            generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "big"))
            drawn.append(torch.randn(shape, generator=generator, device="cpu"))
        return torch.stack(drawn).to(like.device)


def _mean_half(moments: nn.Conv2d) -> nn.Conv2d:
    """The half of the last convolution that gives the mean; the other gives the logarithm of the variance."""
    channels = moments.out_channels // 2
    mean = nn.Conv2d(moments.in_channels, channels, 1, device=moments.weight.device)
    mean.load_state_dict({name: tensor[:channels] for name, tensor in moments.state_dict().items()})
    return mean
