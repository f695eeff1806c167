"""What `check-plugin` asks of a backbone: that it can be cut at every block, and says of itself what is true."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from peftcorr.backbones.base import NEVER_TRAINED, ROLES, Backbone, parameters_of
from peftcorr.errors import BrokenContract, reason

_TOLERANCE = 1e-5
_CUTS = 8  # at most, of a deep backbone


def checks(
    build: Callable[[], Backbone], shapes: Callable[..., Backbone]
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Checks by name, in an order in which each stands on those before it; each raises `BrokenContract`.

    Args:
        build: builds it with its weights.
        shapes: builds it on the meta device; with ``layer=1`` its first block alone.
    """
    checked = Check(build())
    yield "map", checked.check_map
    yield "cuts", checked.check_cuts
    yield "batches", checked.check_batches
    yield "sites", checked.check_sites
    yield "parameters", checked.check_parameters
    yield "copies", checked.check_copies
    yield "shapes", partial(checked.check_shapes, shapes)
    yield "layer", partial(checked.check_layer, shapes)


class Check:
    """One backbone, frozen and evaluating, and two images."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone.requires_grad_(False).eval()
        size = backbone.config.image_size
        self._images = torch.rand((2, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2 - 1

    def check_map(self) -> None:
        """Features (B, C, h, w), float32, C and h as `channels` and `stride` say."""
        backbone, cells = self.backbone, self.backbone.config.image_size // self.backbone.stride
        self._features = self._of(self._images)
        wanted = (2, backbone.channels, cells, cells)
        if tuple(self._features.shape) != wanted or self._features.dtype != torch.float32:
            raise self._broken(
                f"gives features of shape {tuple(self._features.shape)} and type {self._features.dtype}, but channels, "
                f"stride and image_size say {wanted} in torch.float32: mend whichever is wrong."
            )
        if not bool(torch.isfinite(self._features).all()):
            raise self._broken(
                "gives features that are not finite: look at its weights and its mean and std."
            )
        if not torch.equal(self._of(self._images), self._features):
            raise self._broken("gives other features of the same images: let it draw nothing at random.")

    def check_cuts(self) -> None:
        """suffix(prefix(images, k), k) == features(images)."""
        depth = len(self.backbone.blocks())
        if depth == 0:
            raise self._broken("has no blocks: let blocks() give what strategies adapt.")
        for k in sorted({round(depth * cut / _CUTS) for cut in range(_CUTS + 1)}):
            with torch.no_grad():
                state = self.backbone.prefix(self._said(self._images), k)
                apart = _apart(self.backbone.suffix(state, k), self._features)
            if not apart <= _TOLERANCE:
                raise self._broken(
                    f"gives other features when it is cut at block {k}, by {apart:.1e} of their size: let tail run "
                    "from block k what prefix leaves out."
                )
            if len(state.tokens) != len(self._images):
                raise self._broken(
                    f"keeps a state of {len(state.tokens)} rows for 2 images: let tokens begin with B."
                )

    def check_batches(self) -> None:
        """An image's features do not depend on what else is in the batch."""
        apart = _apart(self._of(self._images[1:]), self._features[1:])
        if not apart <= 10 * _TOLERANCE:
            raise self._broken(
                f"gives an image other features in another batch, by {apart:.1e} of their size: let it evaluate, norms "
                "included."
            )

    def check_sites(self) -> None:
        """One site a block, in order; every place that it names is there."""
        backbone, blocks, sites = self.backbone, self.backbone.blocks(), self.backbone.sites()
        if len(blocks) != len(sites):
            raise self._broken(f"has {len(blocks)} blocks and {len(sites)} sites: give one site a block.")
        modules = dict(backbone.named_modules())
        for index, (block, site) in enumerate(zip(blocks, sites, strict=True)):
            if modules.get(site.block) is not block:
                raise self._broken(f"says that site {index} is {site.block}, which is not blocks()[{index}].")
            if site.parameters != parameters_of(block):
                raise self._broken(
                    f"says that {site.block} has {site.parameters:,} parameters, but it has {parameters_of(block):,}."
                )
            places = [
                name for name in (site.norm2, site.attention_output, site.mlp_output) if name is not None
            ]
            layers = [name for names in site.linears.values() for name in names]
            for name in (*places, *layers):
                if name not in modules:
                    raise self._broken(f"names {name} in its sites, which is not there.")
            for name in layers:
                if not hasattr(modules[name], "weight"):
                    raise self._broken(
                        f"names {name} as a linear layer, but it is a {type(modules[name]).__name__}."
                    )
            if odd := sorted(set(site.linears) - set(ROLES)):
                raise self._broken(f"has a layer of the role {odd[0]!r}: choose among {', '.join(ROLES)}.")

    def check_parameters(self) -> None:
        """Every parameter takes part in the features: what does not would be counted and trained for nothing."""
        unused = {
            id(parameter)
            for module in self.backbone.modules()
            if getattr(module, NEVER_TRAINED, False)
            for parameter in module.parameters()
        }
        named = {n: p for n, p in self.backbone.named_parameters() if id(p) not in unused}
        if not named:
            return
        for parameter in named.values():
            parameter.requires_grad_(True)
        features = self.backbone.features(self._said(self._images[:1]))
        found = torch.autograd.grad(features.sum(), list(named.values()), allow_unused=True)
        self.backbone.requires_grad_(False)
        dead = [name for name, gradient in zip(named, found, strict=True) if gradient is None]
        if dead:
            raise self._broken(f"has {dead[0]}, which takes no part in the features: leave it out.")

    def check_copies(self) -> None:
        """It can be copied, and so can its strategies be checked at every run."""
        try:
            twin = copy.deepcopy(self.backbone)
        except Exception as error:
            raise self._broken(
                f"cannot be copied by copy.deepcopy ({reason(error)}): keep no such object in it."
            ) from error
        with torch.no_grad():
            if not torch.equal(twin.features(self._said(self._images, twin)), self._features):
                raise self._broken(
                    "gives other features when it is copied: keep no tensor outside of its modules."
                )

    def check_shapes(self, shapes: Callable[..., Backbone]) -> None:
        """On the meta device, without weights, it has the same parameters and the same map."""
        meta = shapes()
        mine, there = ({name: p.shape for name, p in b.named_parameters()} for b in (self.backbone, meta))
        if mine != there:
            odd = sorted(name for name in {*mine, *there} if mine.get(name) != there.get(name))[0]
            raise self._broken(
                f"has another {odd} when it is built on the meta device: let build(config, None) agree."
            )
        if not all(parameter.is_meta for parameter in meta.parameters()):
            raise self._broken("has values when build gets no weights: build it under torch.device('meta').")
        if (meta.stride, meta.channels) != (self.backbone.stride, self.backbone.channels):
            raise self._broken("has another stride or other channels when it is built on the meta device.")

    def check_layer(self, shapes: Callable[..., Backbone]) -> None:
        """The option `layer` leaves as many blocks, whatever the backbone."""
        if len(shapes(layer=1).blocks()) != 1:
            raise self._broken("does not heed the option layer: ask self.tapped(depth) how many blocks run.")

    def _of(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.backbone.features(self._said(images))

    def _said(self, images: Tensor, backbone: Backbone | None = None) -> Tensor:
        backbone = backbone or self.backbone
        if backbone.uses_categories:
            backbone.condition(["object"] * len(images))
        return images

    def _broken(self, what: str) -> BrokenContract:
        return BrokenContract(f"The backbone {type(self.backbone).__name__} {what}")


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm()) if one.shape == other.shape else float("inf")
