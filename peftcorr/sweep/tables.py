"""A published table as data: which cells it has, and what was published of each.

Below ``recipes/tables/`` a file names some backbones, methods and predictors, and every combination of backbone and
method is a run that all predictors score. The figures beside it are quoted, never computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peftcorr.config import Section
from peftcorr.errors import PeftCorrError, did_you_mean, shortened, shown
from peftcorr.recipe import read

FOLDER = "tables"
LOSSES: dict[str, Section] = {
    "report": {},
    "own": {
        "training": {
            "loss": {"distance": 0.02, "beta": 10, "cross_entropy": 1, "gaussian_beta": 6, "sigma": 0.7}
        }
    },
}
"""What a table's runs are trained with: the recipe's loss, which is the report's, or that of this project."""


class Figure(BaseModel):
    """PCK@0.1 in percent that a source gives of one cell, on one dataset's test split by one predictor."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    backbone: str
    method: str
    predictor: str
    dataset: str
    per_keypoint: float | None = None
    per_image: float | None = None


class PublishedTable(BaseModel):
    """One table of a publication."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str
    source: str
    recipe: str = Field(description="what all cells extend")
    known_backbones: dict[str, Section]
    known_methods: dict[str, Section]
    known_predictors: dict[str, Section]
    backbones: list[str] = Field(min_length=1)
    methods: list[str] = Field(min_length=1)
    predictors: list[str] = Field(min_length=1)
    eval_on: list[str] = []
    images: dict[str, dict[str, int]] = {}
    published: list[Figure] = []

    def cells(self) -> Iterator[TableCell]:
        """Every backbone with every method, in the table's order."""
        for backbone in self.backbones:
            for method in self.methods:
                yield TableCell(backbone, method, self.known_backbones[backbone], self.known_methods[method])

    def figure(self, cell: TableCell, predictor: str, dataset: str) -> Figure | None:
        """What was published of a cell; None where nothing is known."""
        wanted = (cell.backbone, cell.method, predictor, dataset)
        return next(
            (f for f in self.published if (f.backbone, f.method, f.predictor, f.dataset) == wanted), None
        )

    def scored_images(self, dataset: str, validations: int) -> int:
        """Images that are encoded to be scored: the test splits once, val at every validation; 0 where not known."""
        own = self.images.get(dataset, {})
        others = (self.images.get(name, {}).get("test", 0) for name in self.eval_on)
        return own.get("test", 0) + own.get("val", 0) * validations + sum(others)


@dataclass(frozen=True)
class TableCell:
    """One backbone with one method, by the table's names and as sections of a recipe."""

    backbone: str
    method: str
    backbone_section: Section
    strategy_section: Section


def read_table(name: str) -> PublishedTable:
    """The table of that name, such as ``men/3``, or in a YAML file of that path.

    Raises:
        PeftCorrError: if there is none, or it is no table.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else Path(FOLDER, name)
    try:
        values = read(path)
    except PeftCorrError as error:
        raise PeftCorrError(f"There is no table {shown(name)}: {error}") from error
    try:
        table = PublishedTable.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise PeftCorrError(
            f"{shown(name)} is no table of a publication: {shortened(where)}: {shortened(first['msg'], 200)}."
        ) from error
    asked: list[tuple[str, list[str], dict[str, Any]]] = [
        ("backbones", table.backbones, table.known_backbones),
        ("methods", table.methods, table.known_methods),
        ("predictors", table.predictors, table.known_predictors),
    ]
    for kind, names, known in asked:
        for one in names:
            if one not in known:
                raise PeftCorrError(
                    f"{shown(name)}: {kind}: {shown(one)} is not under known_{kind}.{did_you_mean(one, known)}"
                )
    return table
