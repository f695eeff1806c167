"""What a finished run trained: its record, and its backbone with the adapter in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from peftcorr.backbones import Backbone
from peftcorr.backbones.loading import fetched
from peftcorr.engine.plan import Model
from peftcorr.errors import PeftCorrError, did_you_mean, reason, shortened
from peftcorr.recipe import Recipe, validate
from peftcorr.results.record import Record
from peftcorr.results.runs import complete
from peftcorr.results.store import Store
from peftcorr.results.verify import WHOLE, verify_files
from peftcorr.strategies import Strategy


def finished_run(run_id: str, store: Store) -> Record:
    """The record of a run that ended well.

    Args:
        run_id: id of the run, or the beginning of it.
        store: where it is.

    Raises:
        PeftCorrError: if there is none, naming the nearest or those there are, or more than one begins so; or if a
            record that was looked at is not valid.
    """
    known = store.run_ids()
    # Of thousands of records only those are read that may be the one.
    begin = [store.read(one) for one in known if run_id and one.startswith(run_id)]
    found = {record.run_id: record for record in begin if record is not None and record.status == "ok"}
    one = complete(run_id, list(found))
    if one is None:
        for other in known:  # one that was renamed is told by its name
            store.read(other)
        failed = next((record.error for record in begin if record is not None), None)
        raise PeftCorrError(
            f"There is no finished run {shortened(run_id)} in {store.root}"
            + (f": it failed ({shortened(failed, 200)})." if failed else f".{did_you_mean(run_id, known)}")
        )
    return found[one]


def sealed_run(run_id: str, store: Store, folders: Sequence[str]) -> Record:
    """The record of a finished run that can be shared: sealed, and with its files as it wrote them.

    Args:
        run_id: id of the run, or the beginning of it.
        store: where it is.
        folders: whose files have to be there.

    Raises:
        PeftCorrError: as `finished_run`, or if nothing seals the record, or a file was changed or is missing.
    """
    record = finished_run(run_id, store)
    if record.schema_version == 1:
        raise PeftCorrError(
            f"The record {record.run_id} is of version 1, which nothing seals: run its recipe again and share that."
        )
    for file in verify_files(store, record):
        if file.state != WHOLE and file.name.partition("/")[0] in folders:
            raise PeftCorrError(
                f"{store.root / file.name} is {file.state} ({file.why}): bring back the file, or run it again with "
                "--overwrite always."
            )
    return record


@dataclass(frozen=True)
class Finished:
    """A finished run with everything that it trained in place.

    Attributes:
        record: what the run left.
        recipe: the record's.
        model: what backbone and strategy are made of.
        backbone: with its adapter, in evaluation mode, on the CPU.
        strategy: as it is applied to the backbone.
    """

    record: Record
    recipe: Recipe
    model: Model
    backbone: Backbone
    strategy: Strategy


def load_finished(record: Record, store: Store, given: Path | None) -> Finished:
    """Build the backbone of a finished run and put its adapter in place.

    Args:
        record: of a finished run.
        store: has its adapter.
        given: weights that the run was trained from (``--weights``).

    Raises:
        PeftCorrError: if the recipe is none of this version, the weights are others or cannot be fetched, or the
            adapter cannot be read.
    """
    recipe = validate(record.recipe, f"The record {record.run_id}")
    model = Model.of(
        recipe, lambda backbone, config: fetched(backbone, config, backbone.find_weights(config, given))
    )
    weights = model.weights
    assert weights is not None
    if (weights.id, weights.sha256) != (record.weights_id, record.weights_sha256):
        raise PeftCorrError(
            f"The run {record.run_id} was trained from {record.weights_id}, not from {weights.id} as it is here: give "
            "the same weights with --weights."
        )
    backbone, strategy = model.build()
    if strategy.trains():
        path = store.adapter_path(record.run_id)
        store.require_whole(record, path)
        try:
            strategy.load_state_dict(backbone, load_file(path))
        except (OSError, SafetensorError) as error:
            raise PeftCorrError(
                f"The adapter {path} cannot be read ({reason(error)}): train the run again."
            ) from error
    backbone.eval()
    return Finished(record, recipe, model, backbone, strategy)
