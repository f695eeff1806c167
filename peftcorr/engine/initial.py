"""What a training starts from: the adapter of a finished run, and all the trainings before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from peftcorr.backbones import Backbone
from peftcorr.data.base import DatasetSource
from peftcorr.engine.ingredients import held_out_digest
from peftcorr.errors import PeftCorrError, reason, shown
from peftcorr.files import sha256
from peftcorr.recipe import Recipe
from peftcorr.results.record import Record, Stage
from peftcorr.results.runs import finished_run
from peftcorr.results.store import Store
from peftcorr.strategies.base import Strategy


@dataclass(frozen=True)
class Initial:
    """The adapter of a finished run.

    Attributes:
        record: of the run.
        path: of the adapter.
        sha256: of its file.
        chain: every training up to it, the first one first.
    """

    record: Record
    path: Path
    sha256: str
    chain: tuple[Stage, ...]

    def put(self, strategy: Strategy, backbone: Backbone) -> None:
        """Put the adapter in place of what the strategy starts with.

        Raises:
            PeftCorrError: if it cannot be read, or is another strategy's.
        """
        try:
            strategy.load_state_dict(backbone, load_file(self.path))
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            raise PeftCorrError(f"The adapter {self.path} cannot be read ({reason(error)}).") from error


def initial(
    recipe: Recipe, dataset: DatasetSource, weights_sha256: str | None, store: Store
) -> Initial | None:
    """What a recipe's training starts from; None where that is the pretrained backbone.

    Args:
        recipe: with ``init_from`` or without.
        dataset: that is trained on.
        weights_sha256: of the backbone's weights.
        store: where the run is.

    Raises:
        PeftCorrError: if there is no such run with an adapter, its strategy, backbone or weights are others, or a
            training up to it saw what the recipe holds out.
    """
    if recipe.init_from is None:
        return None
    record = finished_run(recipe.init_from, store)
    path = store.adapter_path(record.run_id)
    start = f"--init-from {record.run_id}"
    for key, own in (("strategy", recipe.strategy), ("backbone", recipe.backbone)):
        theirs = record.recipe.get(key)
        if theirs != own:
            named = theirs.get("name") if isinstance(theirs, dict) else None
            what = f"{key} {shown(named)}" if named != own["name"] else f"{key} with other options"
            raise PeftCorrError(
                f"{start}: that run has the {what}: start from one with the same, as in its record."
            )
    if record.weights_sha256 != weights_sha256:
        raise PeftCorrError(
            f"{start}: that run was trained from other weights of the backbone: give the same."
        )
    if not path.is_file():
        raise PeftCorrError(f"{start}: that run left no adapter at {path}: name one that trained.")
    store.require_whole(record, path)
    digest = sha256(path)
    section = record.recipe.get("dataset")
    last = Stage(
        run_id=record.run_id,
        dataset=record.dataset,
        section=section if isinstance(section, dict) else {},
        steps=record.best_step or 0,
        seed=record.seed,
        adapter_sha256=digest,
        annotation=record.ingredients.get("annotation dataset/trn"),
        held_out=record.ingredients.get("held out dataset"),
    )
    chain = (*record.chain, last)
    if "hold_out" in recipe.dataset:
        for stage in chain:
            if stage.dataset == dataset.name or stage.section.get("name") == recipe.dataset["name"]:
                _require_held_out(stage, recipe, dataset, start)
    return Initial(record, path, digest, chain)


def _require_held_out(stage: Stage, recipe: Recipe, dataset: DatasetSource, start: str) -> None:
    """Refuse an earlier training on the dataset that may have seen what the recipe holds out."""
    same = stage.section.get("hold_out") == recipe.dataset["hold_out"]
    if same and stage.held_out == held_out_digest(dataset):
        return
    how = (
        "with the same dataset.hold_out on another annotation"
        if same
        else "without the recipe's dataset.hold_out"
    )
    raise PeftCorrError(
        f"{start}: the run {stage.run_id} was trained on {shown(stage.dataset)} {how}, so perhaps on what it holds "
        "out: start from one with the same."
    )
