"""What of a dataset is kept from a training: keypoints and categories that no loss and no choice ever sees.

A model may learn correspondence, or only the keypoints that were annotated (Mariotti et al., "Jamais Vu", 2025,
arXiv:2506.08220). What is held out here is taken out of trn and val as they are loaded, for every dataset and plugin,
so that nothing behind the loader has to know; test is left whole and is scored apart. Where trn and val share no
category by design, val keeps its own but for what is held out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from peftcorr.errors import PeftCorrError, did_you_mean, shown

Names = Mapping[str, Iterable[str]]
"""Keypoints that are annotated in each category."""

_Name = Annotated[str, Field(min_length=1, max_length=200, coerce_numbers_to_str=True)]
_Share = Annotated[float, Field(gt=0, lt=1, strict=True)]


class HoldOut(BaseModel):
    """The option ``hold_out`` of the dataset that is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    keypoints: _Share | list[_Name] | None = Field(
        default=None,
        description="a share of each category's keypoints, drawn from the seed, or their names: 'nose' in every "
        "category, 'cat/nose' in one",
    )
    categories: list[_Name] = Field(default=[], description="categories of which nothing is seen")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the draw of keypoints")

    @model_validator(mode="after")
    def _something(self) -> HoldOut:
        if not self.keypoints and not self.categories:
            raise ValueError("it must hold out keypoints or categories")
        return self


@dataclass(frozen=True)
class HeldOut:
    """What a `HoldOut` comes to on one dataset.

    Attributes:
        keypoints: held out of each category of which others are seen, sorted; without categories that have none.
        categories: held out, sorted.
        seen: keypoints that may be trained on, of each category.
        selected: keypoints that may be selected on, of each category that val has and trn does not.
        landmarks: whether keypoints have the same names in all splits. Where not, none is held out, and the categories
            alone tell seen from unseen.
    """

    keypoints: dict[str, list[str]]
    categories: list[str]
    seen: dict[str, frozenset[str]]
    selected: dict[str, frozenset[str]] = field(default_factory=dict)
    landmarks: bool = True

    def hidden(self, category: str, names: Iterable[str]) -> set[str]:
        """Those of a category's keypoints that no training and no choice may see: all, where it is unseen itself."""
        shown_of = self.seen.get(category, self.selected.get(category))
        if shown_of is None:
            return set(names)
        return set(names) - shown_of if self.landmarks else set()

    def unseen_of(self, names: Names) -> tuple[dict[str, list[str]], list[str]]:
        """What of some annotation no training may see: keypoints by category, and whole categories, sorted.

        That is what is held out, and what the training's own annotation does not have.
        """
        known = self.seen.keys() | self.selected.keys()
        keypoints = {name: sorted(self.hidden(name, names[name])) for name in sorted(names) if name in known}
        return {name: unseen for name, unseen in keypoints.items() if unseen}, sorted(set(names) - known)


def held_out(
    option: HoldOut, names: Names, dataset: str, selected: Names | None = None, landmarks: bool = True
) -> HeldOut:
    """Draw or look up what is held out.

    Of a share, each category gives the nearest whole number of its keypoints, at least one and never all: those whose
    SHA-256 of seed, category and name is the lowest. No generator and no order of files has a part in it.

    Args:
        option: of the recipe.
        names: of the training's annotation.
        dataset: its name, for messages.
        selected: of the annotation that is selected on. Of what it shares with `names` these decide.
        landmarks: whether a keypoint has one name in all splits.

    Raises:
        PeftCorrError: if a name is none of the dataset, nothing would be left, or keypoints have no names.
    """
    if option.keypoints and not landmarks:
        raise PeftCorrError(
            f"dataset.hold_out.keypoints: the lists of {dataset} number the keypoints of each pair anew, so that no "
            "name tells which ones are held out: hold out categories alone."
        )
    both = {**(selected or {}), **names}
    for category in option.categories:
        if category not in both:
            raise PeftCorrError(
                f"dataset.hold_out: {dataset} has no category {shown(category)}.{did_you_mean(category, both)}"
            )
    every = {name: sorted(set(own)) for name, own in sorted(both.items()) if name not in option.categories}
    there = {name: own for name, own in every.items() if name in names}
    if not there:
        raise PeftCorrError(f"dataset.hold_out leaves {dataset} no category: hold fewer out.")
    if isinstance(option.keypoints, list):
        keypoints = {name: _named(option.keypoints, name, own) for name, own in every.items()}
        _require_known(option.keypoints, every, dataset)
    else:
        share = option.keypoints or 0.0
        keypoints = {name: _drawn(share, option.seed, name, own) for name, own in every.items()}
    left = {name: frozenset(own) - frozenset(keypoints[name]) for name, own in every.items()}
    for name, own in there.items():
        if len(keypoints[name]) == len(own):
            raise PeftCorrError(
                f"dataset.hold_out leaves the category {shown(name)} of {dataset} no keypoint: name it under "
                "categories, or hold fewer keypoints out."
            )
    return HeldOut(
        {name: keypoints[name] for name in there if keypoints[name]},
        sorted(set(option.categories)),
        {name: left[name] for name in there},
        {name: left[name] for name in every if name not in there},
        landmarks,
    )


def _drawn(share: float, seed: int, category: str, keypoints: list[str]) -> list[str]:
    if not share or len(keypoints) < 2:
        return []
    number = min(len(keypoints) - 1, max(1, int(share * len(keypoints) + 0.5)))

    def rank(keypoint: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{category}\0{keypoint}".encode()).digest()

    return sorted(sorted(keypoints, key=rank)[:number])


def _named(asked: list[str], category: str, keypoints: list[str]) -> list[str]:
    return [name for name in keypoints if name in asked or f"{category}/{name}" in asked]


def _require_known(asked: list[str], there: Mapping[str, list[str]], dataset: str) -> None:
    known = {name for own in there.values() for name in own}
    known |= {f"{category}/{name}" for category, own in there.items() for name in own}
    for name in asked:
        if name not in known:
            raise PeftCorrError(
                f"dataset.hold_out: {dataset} has no keypoint {shown(name)}.{did_you_mean(name, known)}"
            )
