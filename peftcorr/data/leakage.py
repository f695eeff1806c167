"""What is said of images that are tested on and were trained on too (`peftcorr.data.fingerprints` finds them)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field


class Leakage(BaseModel):
    """Images of a test set that were trained on too, by what the network saw of them.

    `identical` and `near` count tested images whose input equals a trained one's to the last bit, and those that are a
    copy saved again or at another size; `examples` has a few [trained, tested] paths. `not_compared` has the runs that
    this one started from whose own images are not here any more.
    """

    model_config = ConfigDict(extra="forbid")
    trained_images: int
    tested_images: int
    identical: int
    near: int
    examples: list[list[str]] = []
    not_compared: list[str] = Field(default=[], exclude_if=lambda value: not value)


def warnings(found: Mapping[str, Leakage]) -> Iterator[str]:
    """One sentence for each test set ("<dataset>/<split>") with images that were trained on."""
    for tested_on, leak in found.items():
        if leak.examples:
            trained, tested = leak.examples[0]
            yield (
                f"Warning: {leak.identical + leak.near} of the {leak.tested_images} images of {tested_on} were trained "
                f"on ({leak.identical} the same, {leak.near} saved again or at another size; {trained} and {tested}, "
                "say): its scores flatter what was trained."
            )
