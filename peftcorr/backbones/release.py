"""Weights as the makers of a model publish them: one file, in the names of their own package.

Tensors are looked up from transformers' names, so that each has its place in one table a family (`Names`), whichever
way one goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from re import Pattern, compile, sub
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from peftcorr.backbones.loading import check_tensor_names, fill, without_classifiers
from peftcorr.backbones.tensors import read_tensors
from peftcorr.errors import PeftCorrError, shortened, shown


class Place(NamedTuple):
    """Where a tensor lies in the makers' file: chunk `part` of `parts` equal ones along the first axis of `key`."""

    key: str
    part: int = 0
    parts: int = 1


def _always(key: str, tensor: Tensor) -> bool:
    return True


@dataclass(frozen=True)
class Names:
    """How the makers of a model name its tensors.

    Attributes:
        makers: whose names they are, for messages.
        renamed: patterns in transformers' names and what stands there instead, one after the other.
        stacked: layers that are one there, by transformers' name: the layer, which part of it, and of how many.
        unread: keys that are left aside, because only pretraining reads them or the code computes them.
        agrees: whether what is left aside, by its key, has the values that the code computes.
        prefix: what all names of the part that is read begin with; what begins otherwise is left aside.
    """

    makers: str
    renamed: Mapping[str, str]
    stacked: Mapping[str, tuple[str, int, int]] = field(default_factory=dict)
    unread: Pattern[str] = compile(r"$^")
    agrees: Callable[[str, Tensor], bool] = _always
    prefix: str = ""

    def place(self, name: str) -> Place:
        """Where the tensor that transformers calls `name` lies."""
        part, parts = 0, 1
        for layer, (theirs, index, count) in self.stacked.items():
            if f".{layer}." in name:
                name, part, parts = name.replace(f".{layer}.", f".{theirs}."), index, count
        for pattern, theirs in self.renamed.items():
            name = sub(pattern, theirs, name)
        return Place(self.prefix + name, part, parts)

    def places(self, model: nn.Module) -> dict[str, Place]:
        """Of every tensor of a model of transformers but the mask token, which only masked pretraining reads."""
        return {name: self.place(name) for name in model.state_dict() if not name.endswith(".mask_token")}


def load_release(
    file: Path, model_class: type[Any], config: Any, names: Names, thin: bool = False
) -> nn.Module:
    """The model of transformers with the float32 weights of the makers' file.

    Args:
        file: state dict in the makers' names; ``.pth``, or the same as ``.safetensors``.
        model_class: of transformers.
        config: its configuration, which the backbone's code prescribes.
        names: the makers'.
        thin: as for `fill`.

    Raises:
        PeftCorrError: if the file cannot be read, is no state dict, or is not exactly of that architecture.
    """
    with torch.device("meta"):
        model = model_class(config)
    places = names.places(model)
    found = without_classifiers(read_tensors(file, mapped=thin))
    given = {
        key: tensor
        for key, tensor in found.items()
        if key.startswith(names.prefix) and not names.unread.search(key)
    }
    _check(file, given, places, model.state_dict(), names)
    for key, tensor in found.items():
        if not names.agrees(key, tensor):
            raise PeftCorrError(
                f"--weights {file}: {shortened(key, 100)} has other values than this backbone computes with: choose "
                "the --backbone that these weights were made for."
            )
    # A part of a stacked layer gets memory of its own, here or when it is made thin: the whole would stay as long as
    # one of them.
    tensors = {name: _part(given[place.key], place, copied=not thin) for name, place in places.items()}
    tensors |= {
        name: torch.zeros(tensor.shape) for name, tensor in model.state_dict().items() if name not in places
    }
    return fill(f"--weights {file}", model_class, config, tensors, thin)


def _part(tensor: Tensor, place: Place, copied: bool) -> Tensor:
    if place.parts == 1:
        return tensor
    part: Tensor = tensor.chunk(place.parts)[place.part]
    return part.clone() if copied else part


def _check(
    file: Path,
    given: Mapping[str, Tensor],
    places: Mapping[str, Place],
    model: Mapping[str, Tensor],
    names: Names,
) -> None:
    """Refuse a file that does not hold exactly the model's tensors.

    Raises:
        PeftCorrError: naming the first that differs by the file's own name.
    """
    wanted = {
        place.key: torch.Size((place.parts * model[name].shape[0], *model[name].shape[1:]))
        for name, place in places.items()
    }
    if not wanted.keys() & given.keys() and names.prefix:
        raise PeftCorrError(
            f"--weights {file} has no tensor under {names.prefix}: give the checkpoint as {names.makers} publishes it."
        )
    if found := sorted((given.keys() & model.keys()) - wanted.keys()):
        raise PeftCorrError(
            f"--weights {file} has transformers' names ({found[0]}): give the folder that it lies in, with its "
            "config.json."
        )
    check_tensor_names(f"--weights {file}", wanted.keys() - given.keys(), given.keys() - wanted.keys())
    for key, shape in wanted.items():
        if given[key].shape != shape:
            raise PeftCorrError(
                f"--weights {file} has {key} of shape {shown(tuple(given[key].shape))}, but this backbone has "
                f"{tuple(shape)}: choose the --backbone that these weights were made for."
            )
