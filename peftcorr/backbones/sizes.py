"""What each backbone of the package is at its default options, written down so that listing them builds none.

``python -m peftcorr.backbones.sizes`` writes the table anew from the models themselves.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from peftcorr.backbones import BACKBONES
from peftcorr.registry import OURS

if TYPE_CHECKING:
    from peftcorr.backbones import Backbone

PATH = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Size:
    """One backbone at its default options.

    Attributes:
        parameters: that take part in the features.
        stride: pixels per feature cell.
        image_size: side of the square input, in pixels.
        licence: of the weights.
        weights: where they come from unless a folder is given: a repository of the hub, or ``in the package``.
    """

    parameters: int
    stride: int
    image_size: int
    licence: str
    weights: str


def measure(backbone: type[Backbone]) -> Size:
    """Build a backbone from shapes alone and look.

    Raises:
        PeftCorrError: if it cannot be built.
        pydantic.ValidationError: if it has no default options.
    """
    built = backbone.build(backbone.Config(), None)
    embedded = backbone.embedded_weights() is not None
    return Size(
        parameters=built.total_parameters(),
        stride=built.stride,
        image_size=built.config.image_size,
        licence=backbone.licence,
        weights="in the package" if embedded else backbone.hub_id or "",
    )


@cache
def known() -> dict[str, Size]:
    """The table, by the backbone's name."""
    return {name: Size(**size) for name, size in json.loads(PATH.read_text(encoding="utf-8")).items()}


def write() -> None:
    """Write the table anew, one line a backbone."""
    entries = [entry for entry in BACKBONES.entries() if entry.origin == OURS]
    lines = [f'"{entry.name}": {json.dumps(asdict(measure(BACKBONES.get(entry.name))))}' for entry in entries]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write()
