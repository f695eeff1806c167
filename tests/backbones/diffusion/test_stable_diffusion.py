"""Stable Diffusion: the contract of every backbone, against diffusers' own forward of the whole UNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from peftcorr.errors import PeftCorrError

pytest.importorskip("diffusers", reason="Stable Diffusion needs peftcorr[diffusion]")

from diffusers import DDIMScheduler

from tests.small_diffusion import (
    DEPTH,
    WIDTHS,
    SmallDiffusion,
    SmallDiffusion21,
    build,
    images,
    models,
    save_pipeline,
)

CAT = "a photo of a cat"


@pytest.fixture(scope="module")
def folders(
    diffusion_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[type[SmallDiffusion], Path]:
    linear = save_pipeline(SmallDiffusion21, tmp_path_factory.mktemp("pipelines") / "linear")
    return {SmallDiffusion: diffusion_weights, SmallDiffusion21: linear}


def tokens_of(text: str) -> list[int]:
    """What the small tokenizer makes of a text: letter by letter, the last of a word apart."""
    letters = [2 + ord(letter) - ord("a") for letter in text.replace(" ", "")]
    ends = [len(text[: index + 1].replace(" ", "")) - 1 for index in range(len(text))
            if index + 1 == len(text) or text[index + 1] == " "]  # fmt: skip
    return [58, *(letter + 26 * (index in ends) for index, letter in enumerate(letters)), 59]


def by_diffusers(
    cls: type[SmallDiffusion], pictures: Tensor, noise: Tensor, find: Callable[[Any], nn.Module], prompt: str
) -> Tensor:
    """The mean over noise samples of what a module of the whole, uncut UNet gives."""
    unet, vae, text = models(cls)
    pad = {"!": 0, "<|endoftext|>": 59}[cls.variant.pad_token]
    tokens = tokens_of(prompt)
    tokens += [pad] * (32 - len(tokens))
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    maps: list[Tensor] = []
    handle = find(unet).register_forward_hook(
        lambda module, inputs, output: maps.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        embedded = text(input_ids=torch.tensor([tokens])).last_hidden_state.expand(len(pictures), -1, -1)
        latents = vae.encode(pictures).latent_dist.mean * vae.config.scaling_factor
        for sample in noise:
            timestep = torch.tensor([261])
            noisy = scheduler.add_noise(latents, sample.expand_as(latents), timestep)
            unet(noisy, 261, encoder_hidden_states=embedded)
    handle.remove()
    return torch.stack(maps).mean(0)


@pytest.mark.parametrize(
    ("cls", "up_block"),
    [(SmallDiffusion, 0), (SmallDiffusion, 1), (SmallDiffusion, 3), (SmallDiffusion21, 1)],
)
def test_features_are_those_of_diffusers(
    folders: dict[type[SmallDiffusion], Path], cls: type[SmallDiffusion], up_block: int
) -> None:
    """The up block's output in the whole UNet; averaged over the samples; of any size."""
    backbone = build(cls, folders[cls], up_block=up_block, ensemble=2)
    pictures = images(2, width=192)
    with torch.no_grad():
        features = backbone.features(pictures)
    noise = backbone.latents.noise((4, 16, 24), pictures)
    expected = by_diffusers(cls, pictures, noise, lambda unet: unet.up_blocks[up_block], CAT)
    assert len({float(sample.sum()) for sample in noise}) == 2
    assert features.dtype == torch.float32
    assert features.shape == expected.shape
    assert features.shape[1] == backbone.channels == WIDTHS[3 - up_block]
    assert features.shape[-1] == 192 // backbone.stride
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [1, 2, 6])
def test_an_earlier_layer(diffusion_weights: Path, layer: int) -> None:
    """After one transformer, after a change of resolution, and at the bottom; what lies beyond is gone."""
    backbone = build(SmallDiffusion, diffusion_weights, layer=layer)
    find: dict[int, Callable[[Any], nn.Module]] = {
        1: lambda unet: unet.down_blocks[0].attentions[0],
        2: lambda unet: unet.down_blocks[0].downsamplers[0],
        6: lambda unet: unet.down_blocks[2].downsamplers[0],
    }
    noise = backbone.latents.noise((4, 16, 16), images())
    expected = by_diffusers(SmallDiffusion, images(), noise, find[layer], CAT)
    with torch.no_grad():
        features = backbone.features(images())
        for k in range(layer + 1):
            assert torch.equal(backbone.suffix(backbone.prefix(images(), k), k), features)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert len(backbone.blocks()) == len(backbone.sites()) == layer
    with pytest.raises(PeftCorrError, match=r"backbone\.layer is 11, but this backbone has 10 blocks"):
        build(SmallDiffusion, diffusion_weights, layer=11)


@pytest.mark.parametrize("up_block", [0, 1, 3])
def test_every_block_is_a_place_to_cut(diffusion_weights: Path, up_block: int) -> None:
    backbone = build(SmallDiffusion, diffusion_weights, up_block=up_block)
    assert len(backbone.blocks()) == len(backbone.sites()) == DEPTH[up_block]
    with torch.no_grad():
        whole = backbone.features(images())
        for k in range(len(backbone.blocks()) + 1):
            backbone.condition(["cat", "cat"])
            state = backbone.prefix(images(), k)
            backbone.condition(["dog", "dog"])  # a state holds its prompt
            assert state.tokens.shape[0] == 2
            assert torch.equal(backbone(state, k), whole), f"block {k}"


def test_a_state_holds_no_skip_that_nobody_reads(diffusion_weights: Path) -> None:
    """To up block 1 six of the twelve are read; each counts once, at its resolution."""
    backbone = build(SmallDiffusion, diffusion_weights, ensemble=3)
    text = 32 * 24
    a, b, c, d = WIDTHS
    sizes = {
        0: a * 256,
        3: b * 64,
        7: d * 4 + (b + c + c) * 16 + 3 * c * 4,
        10: c * 64,
    }
    for k in (0, 3, 7, 10):
        assert backbone.prefix(images(), k).tokens.shape[1] == 3 * sizes[k] + text, f"block {k}"


def test_what_lies_beyond_the_tap_is_gone(diffusion_weights: Path) -> None:
    """Parameters are those of diffusers' modules up to the up block, the encoder and its mean, and the text encoder."""
    unet, vae, text = models(SmallDiffusion)

    def count(*modules: nn.Module) -> int:
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    around = count(vae.encoder, text) + 8 * 4 + 4
    for up_block in (0, 3):
        backbone = build(SmallDiffusion, diffusion_weights, up_block=up_block)
        kept = count(unet.conv_in, unet.time_embedding, unet.mid_block, *unet.down_blocks)
        kept += count(*unet.up_blocks[: up_block + 1])
        assert backbone.total_parameters() == around + kept
        assert sum(site.parameters for site in backbone.sites()) == kept - count(
            unet.conv_in, unet.time_embedding
        )
    with pytest.raises(PeftCorrError, match=r"backbone\.up_block is 4, but this UNet has up blocks 0 to 3"):
        build(SmallDiffusion, diffusion_weights, up_block=4)


def test_no_parameter_is_dead_and_the_text_encoder_is_never_trained(diffusion_weights: Path) -> None:
    for up_block in (0, 1):
        backbone = build(SmallDiffusion, diffusion_weights, up_block=up_block)
        assert backbone.trainable_parameters() == 0
        backbone.requires_grad_(True)
        backbone.features(images()).square().sum().backward()
        without = {name for name, parameter in backbone.named_parameters() if parameter.grad is None}
        assert without == {name for name, _ in backbone.named_parameters() if name.startswith("prompts.")}
        assert all(not parameter.requires_grad for parameter in backbone.prompts.parameters())
        assert all(parameter.grad.any() for parameter in backbone.latents.parameters())


def test_an_image_has_the_same_features_in_any_company(diffusion_weights: Path) -> None:
    """Two loadings, alone or with others, training mode or not."""
    one, two = (build(SmallDiffusion, diffusion_weights, ensemble=3) for _ in range(2))
    two.train()
    pictures = images(3)
    with torch.no_grad():
        one.condition(["cat", "dog", "cat"])
        together = one.features(pictures)
        two.condition(["cat"])
        alone = two.features(pictures[2:])
    torch.testing.assert_close(alone[0], together[2], rtol=1e-4, atol=1e-5)
    one.condition(["cat"])
    with torch.no_grad():
        assert torch.equal(one.features(pictures[2:]), alone)


def test_noise_is_of_seed_size_and_index_alone(diffusion_weights: Path) -> None:
    two, three, other = (
        build(SmallDiffusion, diffusion_weights, **options).latents
        for options in ({"ensemble": 2}, {"ensemble": 3}, {"noise_seed": 1})
    )
    torch.manual_seed(5)
    noise = two.noise((4, 16, 16), images())
    torch.manual_seed(6)
    assert torch.equal(three.noise((4, 16, 16), images())[:2], noise)
    assert not torch.equal(noise[0], noise[1])
    assert not torch.isclose(other.noise((4, 16, 16), images()), noise).any(dim=-1).any()
    assert noise.mean().abs() < 0.1
    assert noise.std() == pytest.approx(1, abs=0.05)


def test_an_ensemble_is_the_mean_of_its_samples(
    diffusion_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, single = (
        build(SmallDiffusion, diffusion_weights, ensemble=3),
        build(SmallDiffusion, diffusion_weights, ensemble=1),
    )
    noise = many.latents.noise((4, 16, 16), images())
    maps = []
    with torch.no_grad():
        whole = many.features(images())
        for sample in noise:
            monkeypatch.setattr(
                type(single.latents), "noise", lambda self, shape, like, sample=sample: sample[None]
            )
            maps.append(single.features(images()))
    torch.testing.assert_close(torch.stack(maps).mean(0), whole, rtol=1e-4, atol=1e-5)
    assert (maps[0] - maps[1]).abs().max() > 0.1


def test_prompts_name_the_category(diffusion_weights: Path) -> None:
    backbone = build(SmallDiffusion, diffusion_weights)
    assert backbone.uses_categories
    pictures = images(1).expand(2, -1, -1, -1)
    with torch.no_grad():
        backbone.condition(["cat", "dog"])
        cat, dog = backbone.features(pictures)
        fixed = build(SmallDiffusion, diffusion_weights, prompt=CAT)
        assert not fixed.uses_categories
        torch.testing.assert_close(fixed.features(pictures)[0], cat)
    assert (cat - dog).abs().max() > 1e-3
    backbone.condition(["cat"])
    with pytest.raises(PeftCorrError, match=r"category of each of 2 images, but condition\(\) named 1"):
        backbone.features(pictures)
    with pytest.raises(PeftCorrError, match="which is 42 tokens, but the text encoder reads 32: shorten it"):
        build(SmallDiffusion, diffusion_weights, prompt="a" * 40).features(pictures)


def test_a_prompt_is_embedded_once_and_the_same_in_every_precision(diffusion_weights: Path) -> None:
    backbone = build(SmallDiffusion, diffusion_weights)
    seen: list[Any] = []
    backbone.prompts.model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        first = backbone.prompts([CAT, "a photo of a dog", CAT])
    backbone.requires_grad_(True)
    again = backbone.prompts([CAT])
    assert len(seen) == 2
    assert torch.equal(again[0], first[0])
    assert first.dtype == torch.float32
    plain = build(SmallDiffusion, diffusion_weights).prompts([CAT])
    assert torch.equal(plain, again)
    backbone.condition(["cat", "dog"])
    backbone.features(images()).sum().backward()  # embedded in inference mode, used in training


def test_the_prompt_vocabulary_is_part_of_the_state(diffusion_weights: Path) -> None:
    """It decides about features, so cached ones are named after it."""
    assert build(SmallDiffusion, diffusion_weights).state_dict()["prompts.vocabulary"].shape == (32,)


def test_sites_are_where_the_residual_stream_is_read_and_added_to(diffusion_weights: Path) -> None:
    """The stream is that of the transformer block: cross-attention and the MLP are the last two that are added."""
    backbone = build(SmallDiffusion, diffusion_weights)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    transformers = [f"{site.block}.transformer.transformer_blocks.0" for site in backbone.sites()]
    places = [
        str(name)
        for site, stream in zip(backbone.sites(), transformers, strict=True)
        for name in (site.norm2, site.attention_output, site.mlp_output, f"{stream}.norm2", stream)
    ]
    for name in places:
        backbone.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: (inputs[0], output)})
        )
    with torch.no_grad():
        backbone.features(images())
    for k, (site, stream) in enumerate(zip(backbone.sites(), transformers, strict=True)):
        assert backbone.get_submodule(site.block) is backbone.blocks()[k]
        read = seen[str(site.norm2)][0]
        assert torch.equal(read, seen[f"{stream}.norm2"][0] + seen[str(site.attention_output)][1])
        assert torch.equal(seen[stream][1], read + seen[str(site.mlp_output)][1])
        assert site.width == read.shape[-1]
        named = {name for names in site.linears.values() for name in names}
        real = {
            f"{site.block}.{name}"
            for name, module in backbone.get_submodule(site.block).named_modules()
            if isinstance(module, (nn.Linear, nn.Conv2d)) and "time_emb_proj" not in name
        }
        assert named == real
