"""Several strategies at once: ``lora+norm``, or any other registered names joined by a plus."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, Field, create_model
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError, shown
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import Strategy
from peftcorr.strategies.frozen import Frozen


class Combined(Strategy):
    """Strategies that are trained together, each with its options in a section of its own name.

    In whatever order they are named, the innermost are applied first, then the others by name.

    Attributes:
        classes: of the parts, by name.
    """

    classes: ClassVar[dict[str, type[Strategy]]]

    def __init__(self, config: BaseModel):
        super().__init__(config)
        made = {name: cls(getattr(config, name)) for name, cls in self.classes.items()}
        self.parts = dict(sorted(made.items(), key=lambda item: (not item[1].innermost, item[0])))
        self.starts_changed = any(part.starts_changed for part in made.values())

    def apply(self, backbone: Backbone) -> None:
        """Apply each part to a frozen backbone, then unfreeze what all of them train.

        peft freezes what is not its own, and a part may unfreeze a whole block, so that a part's own are those that
        it left trainable and that no part before it had added.

        Raises:
            PeftCorrError: if two parts train the same parameter or wrap the same layer.
        """
        pretrained = {id(parameter) for parameter in backbone.parameters()}
        owners: dict[int, tuple[str, nn.Parameter]] = {}
        for name, part in self.parts.items():
            backbone.requires_grad_(False)
            part.apply(backbone)
            present = dict(backbone.named_parameters())
            for key, parameter in present.items():
                if parameter.requires_grad:
                    owner = owners.setdefault(id(parameter), (name, parameter))[0]
                    if owner != name and id(parameter) in pretrained:
                        raise _overlap(owner, name, key)
            remaining = {id(parameter) for parameter in present.values()}
            lost = [owner for key, (owner, _) in owners.items() if key not in remaining]
            if lost:
                raise _overlap(lost[0], name, "the same layer")
        for _, parameter in owners.values():
            parameter.requires_grad_(True)

    def expected_parameters(self, backbone: Backbone) -> int:
        """The sum of the parts'."""
        return sum(part.expected_parameters(backbone) for part in self.parts.values())

    def trains(self) -> bool:
        """Whether any part does."""
        return any(part.trains() for part in self.parts.values())

    def first_trainable_block(self, backbone: Backbone) -> int:
        """The first of any part."""
        return min(part.first_trainable_block(backbone) for part in self.parts.values())

    def learning_rate(self) -> float:
        """The smallest of the parts'."""
        return min(part.learning_rate() for part in self.parts.values())

    def penalty(self, backbone: Backbone) -> Tensor | None:
        """The sum of the parts'."""
        found = [part.penalty(backbone) for part in self.parts.values()]
        terms = [term for term in found if term is not None]
        return torch.stack(terms).sum() if terms else None

    def after_step(self, backbone: Backbone, step: int, steps: int) -> None:
        """Told to every part."""
        for part in self.parts.values():
            part.after_step(backbone, step, steps)

    def training_state(self) -> dict[str, Tensor]:
        """What each part remembers, under its name."""
        return {
            f"{name}/{key}": tensor
            for name, part in self.parts.items()
            for key, tensor in part.training_state().items()
        }

    def load_training_state(self, backbone: Backbone, state: dict[str, Tensor]) -> None:
        """See `Strategy.load_training_state`."""
        for name, part in self.parts.items():
            own = {
                key.removeprefix(f"{name}/"): value
                for key, value in state.items()
                if key.startswith(f"{name}/")
            }
            if own:
                part.load_training_state(backbone, own)

    def merge(self, backbone: Backbone) -> None:
        """Merge every part, the innermost first.

        Raises:
            PeftCorrError: if one of them has no exact merge; the backbone is then as it was.
        """
        for name, part in self.parts.items():
            if type(part).merge is Strategy.merge:
                raise PeftCorrError(
                    f"{name} of {type(self).__name__} has no exact merge: keep the adapter beside the model."
                )
        for part in self.parts.values():
            part.merge(backbone)


@cache
def combined(name: str) -> type[Strategy]:
    """The class of a combination such as ``lora+norm``.

    Raises:
        PeftCorrError: if a part is unknown, named twice, or frozen.
    """
    names = name.split("+")
    if "" in names or len(set(names)) < len(names):
        raise PeftCorrError(
            f"The strategy {shown(name)} must be names joined by a plus, each once: for example lora+norm."
        )
    classes = {part: STRATEGIES.get(part) for part in names}
    if any(issubclass(cls, Frozen) for cls in classes.values()):
        raise PeftCorrError(f"The strategy {shown(name)} has a part that trains nothing: leave frozen out.")
    sections: dict[str, Any] = {part: (cls.Config, _default(cls.Config)) for part, cls in classes.items()}
    config = create_model(
        "Config", __base__=Strategy.Config, __doc__=f"Options of ``{name}``, by part.", **sections
    )
    members = {
        "__doc__": f"{' and '.join(names)} together.",
        "__module__": __name__,
        "Config": config,
        "classes": classes,
    }
    return type(name, (Combined,), members)


def _default(config: type[BaseModel]) -> Any:
    required = any(option.is_required() for option in config.model_fields.values())
    return ... if required else Field(default_factory=config)


def _overlap(one: str, other: str, what: str) -> PeftCorrError:
    return PeftCorrError(f"The strategies {one} and {other} both change {what}: leave one of them out.")
