"""The digests of what a recipe names: see `peftcorr.results.identity`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from peftcorr.backbones import BACKBONES, Weights
from peftcorr.config import Section
from peftcorr.data import DATASETS
from peftcorr.data.base import DatasetSource
from peftcorr.data.identity import annotation_digest, images_digest
from peftcorr.engine.workbench import Workbench
from peftcorr.files import digest, sha256
from peftcorr.matching import PREDICTORS
from peftcorr.recipe import Recipe
from peftcorr.registry import OURS, Registry
from peftcorr.strategies import STRATEGIES

# What these hold is told by the versions in the record's environment.
_LIBRARIES = {
    OURS, "abc", "builtins", "typing", "typing_extensions", "pydantic", "torch", "torchvision", "transformers", "timm",
    "peft", "diffusers", "segment_anything", "datasets", "numpy",
}  # fmt: skip


def ingredients(
    recipe: Recipe, weights: Weights, sources: Mapping[str, DatasetSource], trains: bool, bench: Workbench
) -> dict[str, str]:
    """Digests of everything that a run will read.

    Args:
        recipe: names the classes.
        weights: with their hash.
        sources: datasets by their place in the recipe: ``dataset``, ``eval_on.0``, ...
        trains: whether the run trains, and so reads the trn and val splits too.
        bench: opens the splits.

    Raises:
        PeftCorrError: if a split or an image cannot be read.
    """
    found = {"weights": weights.sha256 or ""} | ({"commit": weights.commit} if weights.commit else {})
    for place, source in sources.items():
        for split in _read(place, source, trains):
            dataset = bench.opened(source, split)
            found[f"annotation {place}/{split}"] = annotation_digest(dataset)
            found[f"images {place}/{split}"] = images_digest(dataset, bench.cache)
        if (held := held_out_digest(source)) is not None:
            # An untrained run does not read the annotation that it is drawn from.
            found[f"held out {place}"] = held
    named: list[tuple[Registry[Any], Section]] = [
        (STRATEGIES, recipe.strategy),
        (BACKBONES, recipe.backbone),
        *((DATASETS, section) for section in (recipe.dataset, *recipe.eval_on)),
        *((PREDICTORS, section) for section in recipe.predictors),
    ]
    for registry, section in named:
        for kind, name, code in _plugins(registry, section):
            found[f"plugin {kind} {name}"] = code
    return found


def held_out_digest(source: DatasetSource) -> str | None:
    """Digest of what a dataset holds out; None where it holds nothing out.

    Raises:
        PeftCorrError: as `DatasetSource.held_out`.
    """
    held = source.held_out
    if held is None:
        return None
    names = [held.seen, held.selected] if held.selected else [held.seen]
    told = [{name: sorted(own) for name, own in one.items()} for one in names]
    return digest([held.keypoints, held.categories, *told])


def _read(place: str, source: DatasetSource, trains: bool) -> Iterator[str]:
    """The splits that a run reads."""
    there = source.splits()
    if place == "dataset" and trains:
        yield from (split for split in ("trn", "val") if split in there)
    elif getattr(source.config, "occlusion_threshold", None) == "val":
        yield "val"
    yield "test"


def _plugins(registry: Registry[Any], section: Section) -> Iterator[tuple[str, str, str]]:
    """Kind, name and digest of the code of each plugin that a section names; of a combination, of its parts."""
    names = [section["name"], *str(section["name"]).split("+")]
    parts = section.get("parts")
    names += [part["name"] for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    for name in dict.fromkeys(names):
        entry = registry.find(name)
        if entry is None or not isinstance(entry.target, type):
            continue
        modules = {cls.__module__ for cls in entry.target.__mro__}
        own = [m for m in modules if m.partition(".")[0] not in _LIBRARIES | sys.stdlib_module_names]
        if own:
            yield registry.kind, name, digest([*sorted(map(_code, own)), _version(entry.origin)])


def _code(name: str) -> list[list[str]]:
    """Digests of a module's file, or of all files of the package that it is in, by their names there.

    What the file or the package is called, and where it lies, is not told.
    """
    parts = name.split(".")
    above = (".".join(parts[: count + 1]) for count in range(len(parts)))
    # A folder without an __init__.py, which several distributions may share, has no file.
    files = (getattr(sys.modules.get(module), "__file__", None) for module in above)
    top = next((Path(file) for file in files if file is not None), None)
    if top is None or not top.is_file():
        return []
    if top.name != "__init__.py":
        return [["", sha256(top)]]
    folder = top.parent
    return [[path.relative_to(folder).as_posix(), sha256(path)] for path in sorted(folder.rglob("*.py"))]


def _version(distribution: str) -> str:
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return ""
