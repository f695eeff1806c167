"""Figures that others published: quoted with their sources, and never in one table with what was measured here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from typing_extensions import Self

from peftcorr.console import numbers
from peftcorr.errors import PeftCorrError, did_you_mean, shortened, shown
from peftcorr.files.reading import parse_yaml, read_text
from peftcorr.report.pipes import escaped, table

# As printed in the source: a figure keeps its digits, 64.0 is not 64.00.
Figure = Annotated[str, StringConstraints(pattern=r"^(100|[0-9]{1,2})(\.[0-9]+)?$")]
Change = Annotated[str, StringConstraints(pattern=r"^[+-][0-9]+(\.[0-9]+)?$")]
Words = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Address = Annotated[str, StringConstraints(pattern=r"^https://[^\s()<>|\[\]\\]+$")]

_INTRODUCTION = """\
## Published figures, none of them measured here

{measure}.

These are the authors' own figures under their own protocols: input size, predictor, selection and averaging differ from
one source to the next and from ours, so this table keeps the order of its file, ranks nothing, and is not to be read
together with those above. It is quoted from [`published.yaml`](published.yaml); a row added there, with its source,
appears here.
"""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Where figures were published."""

    citation: Words
    url: Address | None = None


class PublishedRow(_Strict):
    """What one source says of one model: PCK in percent, or the change over its own frozen model in percent of it.

    `averaging` is what the source says that it averages over; where it does not say, `pck` has its figure.
    """

    benchmark: Words
    model: Words
    tuning: Words
    averaging: Literal["per_keypoint", "per_image", "both", "not stated"]
    per_keypoint: Figure | None = None
    per_image: Figure | None = None
    pck: Figure | None = None
    relative: Change | None = None
    source: Words

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        given = {
            name
            for name in ("per_keypoint", "per_image", "pck", "relative")
            if getattr(self, name) is not None
        }
        if not given:
            raise ValueError("give per_keypoint, per_image, pck or relative")
        fitting = {"both": {"per_keypoint", "per_image"}, "not stated": given & {"pck", "relative"}}
        if given - {"relative"} != fitting.get(self.averaging, {self.averaging}) - {"relative"}:
            raise ValueError(
                f"averaging is {self.averaging}, but the figures given are {', '.join(sorted(given))}"
            )
        return self


class Published(_Strict):
    """The table: what was measured, the sources by the names that rows give, and the rows in their order."""

    measure: Words
    sources: dict[str, Source]
    rows: list[PublishedRow] = Field(min_length=1)


def read_published(path: Path) -> Published | None:
    """Read the published figures; None where there is no such file.

    Raises:
        PeftCorrError: if it is no readable YAML, a field is wrong or a row names an unknown source.
    """
    if not path.is_file():
        return None
    try:
        # The base loader leaves every scalar as it was written.
        found = Published.model_validate(parse_yaml(read_text(path), yaml.BaseLoader))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        told = shortened(first["msg"], 200)
        raise PeftCorrError(f"{path}: {shortened(where)}: {told}; mend it or delete the file.") from error
    except ValueError as error:
        raise PeftCorrError(f"{path} is not readable as YAML ({error}).") from error
    for number, row in enumerate(found.rows):
        if row.source not in found.sources:
            raise PeftCorrError(
                f"{path}: rows.{number}.source: there is no source {shown(row.source)} under sources."
                + did_you_mean(row.source, found.sources)
            )
    return found


def published_section(published: Published) -> str:
    """Return the table as Markdown, under a heading that says whose figures they are."""
    columns = {
        "Benchmark": [escaped(row.benchmark) for row in published.rows],
        "Model": [escaped(row.model) for row in published.rows],
        "Fine-tuning": [escaped(row.tuning) for row in published.rows],
        "per keypoint": [row.per_keypoint or numbers.MISSING for row in published.rows],
        "per image": [row.per_image or numbers.MISSING for row in published.rows],
    }
    if any(row.pck for row in published.rows):
        columns["averaging not stated"] = [row.pck or numbers.MISSING for row in published.rows]
    changes = [f"{row.relative} %" if row.relative else numbers.MISSING for row in published.rows]
    if any(row.relative for row in published.rows):
        columns["relative to its own frozen model"] = changes
    columns["Source"] = [_source(published.sources[row.source]) for row in published.rows]
    introduction = _INTRODUCTION.format(measure=escaped(published.measure).rstrip("."))
    left = (0, 1, 2, len(columns) - 1)
    return f"{introduction}\n{table(list(columns), list(zip(*columns.values(), strict=True)), left=left)}\n"


def _source(source: Source) -> str:
    citation = escaped(source.citation)
    return citation if source.url is None else f"[{citation}]({source.url})"
