"""What a finished run trained: its record, and its backbone with the adapter in place."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from peftcorr.backbones import Backbone
from peftcorr.errors import PeftCorrError, did_you_mean
from peftcorr.recipe import Recipe
from peftcorr.results.record import Record
from peftcorr.results.runs import complete
from peftcorr.results.store import Store
from peftcorr.strategies.base import apply_checked


def finished_run(run_id: str, store: Store) -> Record:
    """The record of a run that ended well.

    Args:
        run_id: id of the run, or the beginning of it.
        store: where it is.

    Raises:
        PeftCorrError: if there is none, naming the nearest or those there are, or more than one begins so.
    """
    records = {record.run_id: record for record in store.records() if record.status == "ok"}
    found = complete(run_id, list(records))
    if found is None:
        raise PeftCorrError(
            f"There is no finished run {run_id} in {store.root}.{did_you_mean(run_id, records)}"
        )
    return records[found]


def adapted_backbone(recipe: Recipe, record: Record, store: Store, given: Path | None) -> Backbone:
    """The run's backbone with its adapter, in evaluation mode on the CPU.

    Args:
        recipe: of the record.
        record: of a finished run.
        store: has its adapter.
        given: weights that the run was trained from (``--weights``).

    Raises:
        PeftCorrError: if the weights are others, or the adapter cannot be read.
    """
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
