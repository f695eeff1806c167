"""A trained model for the world outside: the adapter merged into the backbone, in its own library's format."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from peftcorr.backbones import Backbone
from peftcorr.errors import PeftCorrError
from peftcorr.recipe import Recipe
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from peftcorr.strategies.base import apply_checked

_TOLERANCE = 1e-4


def export(run_id: str, folder: Path, output: Path, given: Path | None) -> str:
    """Merge the adapter of a run into its backbone, check the result and write it.

    Args:
        run_id: of a run whose record and adapter are in `output`.
        folder: where the model goes; new or empty.
        output: folder of the records.
        given: weights that the run was trained from (``--weights``).

    Returns:
        what was written, in a sentence.

    Raises:
        PeftCorrError: if there is no such run, the weights are others, the strategy has no exact merge, the family
            has no format of its own, or the folder is not empty.
    """
    record = _trained_run(run_id, Store(output))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PeftCorrError(f"{folder} is there already: give a new or empty folder.")
    recipe = Recipe.model_validate(record.recipe)
    backbone = _adapted(recipe, record, Store(output), given)
    size = backbone.config.image_size
    images = torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = backbone.features(images)
    recipe.make_strategy().merge(backbone)
    with torch.inference_mode():
        found = backbone.features(images)
    difference = float((found - expected).norm() / expected.norm())
    if difference > _TOLERANCE:
        raise PeftCorrError(
            f"The merged model's features differ from the run's by {difference:.1e} of their size: it is not written."
        )
    folder.mkdir(parents=True, exist_ok=True)
    backbone.save_pretrained(folder)
    return (
        f"{folder}: {record.strategy} merged into {record.backbone} ({record.weights_id}); features differ by "
        f"{difference:.1e} of their size from the unmerged model's."
    )


def _trained_run(run_id: str, store: Store) -> Record:
    record = store.read(run_id)
    if record is None or record.status != "ok":
        known = ", ".join(r.run_id for r in store.records() if r.status == "ok") or "none"
        raise PeftCorrError(f"There is no finished run {run_id} in {store.root}: it has {known}.")
    return record


def _adapted(recipe: Recipe, record: Record, store: Store, given: Path | None) -> Backbone:
    """The run's backbone with its adapter, in evaluation mode on the CPU."""
    cls, config = recipe.backbone_class()
    weights = cls.find_weights(config, given)
    if (weights.id, weights.sha256) != (record.weights_id, record.weights_sha256):
        raise PeftCorrError(
            f"The run {record.run_id} was trained from {record.weights_id}, not from {weights.id} as it is here: give "
            "the same weights with --weights."
        )
    backbone = cls.build(config, weights)
    strategy = recipe.make_strategy()
    apply_checked(strategy, backbone)
    if strategy.trains():
        path = store.adapter_path(record.run_id)
        try:
            strategy.load_state_dict(backbone, load_file(path))
        except (OSError, SafetensorError) as error:
            raise PeftCorrError(
                f"The adapter {path} cannot be read ({error}): train the run again."
            ) from error
    backbone.eval()
    return backbone
