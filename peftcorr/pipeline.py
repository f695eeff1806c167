"""The file to read first: one run from recipe to record, in the order the data flows.

recipe -> datasets -> backbone + strategy -> training -> features, matching -> predictions -> scores -> record
"""

from __future__ import annotations

import shutil

import pyarrow as pa
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import save_file

from peftcorr.backbones import Backbone, Weights
from peftcorr.config import Section
from peftcorr.data.guard import selecting
from peftcorr.engine.evaluate import Split
from peftcorr.engine.scoring import score
from peftcorr.engine.train import Trained, Trainer
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from peftcorr.files import atomic_path
from peftcorr.metrics.presets import preset_named
from peftcorr.predictions import write_predictions
from peftcorr.recipe import Recipe, Training, WeightsIdentity
from peftcorr.results.choice import chosen_predictor
from peftcorr.results.environment import PeakMemory, environment
from peftcorr.results.record import Cost, Record
from peftcorr.strategies.base import Strategy, apply_checked


def finalise(recipe: Recipe, bench: Workbench) -> Recipe:
    """Write into a recipe what decides its numbers here: the weights' hash, dataset folders' names, the learning rate,
    the setting of a predictor that was tuned.

    Raises:
        PeftCorrError: if weights, folder, split or the setting are missing: said before any cell starts.
    """
    weights = bench.weights_of(*recipe.backbone_class())
    strategy = recipe.make_strategy()
    needs_training = strategy.trains()
    training = recipe.training
    if not needs_training:
        training = Training(steps=0)
    elif training.learning_rate is None and training.search is None:
        training = training.model_copy(update={"learning_rate": strategy.learning_rate()})
    for section, split in _splits(recipe, needs_training):
        found = bench.source(section).splits()
        if split not in found:
            raise PeftCorrError(
                f"The dataset {section['name']!r} has no {split} split (it has {', '.join(found) or 'none'}): "
                + (
                    "train on another and score this one with --eval-on."
                    if split == "trn"
                    else "choose another."
                )
            )
    dataset = _identified(recipe.dataset, bench)
    others = [_identified(section, bench) for section in recipe.eval_on]
    return recipe.model_copy(
        update={
            "weights": WeightsIdentity(id=weights.id, sha256=weights.sha256),
            "training": training,
            "dataset": dataset,
            # A recipe may name every test set whichever is trained on: none is scored twice.
            "eval_on": [s for index, s in enumerate(others) if s not in (dataset, *others[:index])],
            "predictors": _predictors(recipe, weights, bench),
        }
    )


def _predictors(recipe: Recipe, weights: Weights, bench: Workbench) -> list[Section]:
    """The recipe's predictors, ``tuned`` replaced by what was chosen for the backbone."""
    found = [section for section in recipe.predictors if section["name"] != "tuned"]
    if len(found) < len(recipe.predictors):
        chosen = chosen_predictor(recipe.backbone, weights.id, weights.sha256, bench.store)
        if chosen not in found:
            found.insert(recipe.predictors.index({"name": "tuned"}), chosen)
    return found


def _splits(recipe: Recipe, needs_training: bool) -> list[tuple[Section, str]]:
    tested = [(section, "test") for section in (recipe.dataset, *recipe.eval_on)]
    return [(recipe.dataset, "trn"), *tested] if needs_training else tested


def _identified(section: Section, bench: Workbench) -> Section:
    """A dataset section with what tells its folder from others: their names, say, or the pairs drawn from them."""
    return {**section, **bench.source(section).identity()}


def run(recipe: Recipe, bench: Workbench) -> Record:
    """Carry out one finalised recipe and write its predictions, its adapter and its record.

    Raises:
        PeftCorrError: if anything the user can mend goes wrong; a record of the failure is left, unless a whole one
            of an earlier run stands there.
    """
    accelerator = Accelerator(mixed_precision=recipe.precision)
    record = _blank_record(recipe, bench)
    try:
        return _run(recipe, bench, accelerator, record)
    except Exception as error:
        own = isinstance(error, PeftCorrError)
        standing = bench.store.read(record.run_id)
        # Where another process failed first, this one only lost its connection, and the reason stands there already.
        echo = accelerator.num_processes > 1 and not own and standing is not None
        if not echo and (standing is None or standing.status == "failed"):
            text = str(error) if own else f"{type(error).__name__}: {error}"
            machine = environment(accelerator.num_processes, recipe.precision, bench.output)
            bench.store.write(record.model_copy(update={"error": text, "environment": machine}))
        raise


def _run(recipe: Recipe, bench: Workbench, accelerator: Accelerator, record: Record) -> Record:
    memory = PeakMemory(accelerator.device)
    memory.reset()
    set_seed(recipe.seed)
    cls, config = recipe.backbone_class()

    with selecting():
        strategy = recipe.make_strategy()
        backbone = cls.build(config, bench.weights_of(cls, config))
        apply_checked(strategy, backbone)
        backbone.to(accelerator.device)
        trained = train(recipe, bench, backbone, strategy, accelerator)

    scored = score(recipe, bench, backbone, trained.steps > 0, record.weights_id, accelerator)
    forwards = torch.tensor(scored.forwards, device=accelerator.device)
    record = record.model_copy(
        update={
            "status": "ok",
            "trainable_parameters": backbone.trainable_parameters(),
            "total_parameters": backbone.total_parameters(),
            "scores": scored.scores,
            "tracking": scored.tracking,
            "validation": trained.validation,
            "best_step": trained.best_step,
            "learning_rate": trained.learning_rate,
            "learning_rate_search": trained.search,
            "leakage": scored.leakage or None,
            "cost": Cost(
                train_seconds=trained.seconds,
                eval_seconds=scored.seconds,
                peak_memory_bytes=memory.read(),
                encoder_forwards=int(accelerator.reduce(forwards, "sum")),
                steps=trained.steps,
            ),
            "environment": environment(accelerator.num_processes, recipe.precision, bench.output),
        }
    )
    if accelerator.is_main_process:
        write_predictions(pa.concat_tables(scored.tables), bench.store.predictions_path(record.run_id))
        record = record.model_copy(update={"adapter_bytes": _save_adapter(strategy, backbone, bench, record)})
        bench.store.write(record)
        shutil.rmtree(bench.store.state_path(record.run_id), ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    return record


def train(
    recipe: Recipe, bench: Workbench, backbone: Backbone, strategy: Strategy, accelerator: Accelerator
) -> Trained:
    """Train on the dataset's trn split, selecting on val where there is one; a frozen backbone needs neither."""
    if backbone.trainable_parameters() == 0 or recipe.training.steps == 0:
        return Trained(0, 0.0, None, None, [], [])
    _, config = recipe.backbone_class()
    first = strategy.first_trainable_block(backbone)
    # The frozen blocks' output is the same at every step: kept once an image, for training and validation alike.
    kept_as = {"fp32": torch.float32, "bf16": torch.bfloat16}.get(recipe.training.prefix_cache)
    if first > 0 and kept_as is not None and recipe.training.colour_jitter:
        bench.progress.say(
            "training.colour_jitter makes every image new: the frozen blocks' output is not kept."
        )
        kept_as = None
    prefixes = PrefixStore(kept_as) if first > 0 and kept_as is not None else None
    place = (config.image_size, config.resize)
    trn = bench.split(recipe.dataset, "trn", *place, None)
    has_val = "val" in bench.source(recipe.dataset).splits()
    val = bench.split(recipe.dataset, "val", *place, None) if has_val else None
    trainer = Trainer(
        recipe.training,
        strategy,
        Encoder(backbone, None, accelerator.device, accelerator.autocast, first),
        Split(trn.dataset, trn.data, trn.store, prefixes),
        Split(val.dataset, val.data, val.store, prefixes) if val is not None else None,
        recipe.make_predictors()[0],
        accelerator,
        bench.store.state_path(recipe.run_id()),
        recipe.seed,
        recipe.encode_batch,
        bench.progress,
    )
    return trainer.run()


def _blank_record(recipe: Recipe, bench: Workbench) -> Record:
    weights = bench.weights_of(*recipe.backbone_class())
    return Record(
        run_id=recipe.run_id(),
        status="failed",
        recipe=recipe.model_dump(mode="json"),
        strategy=recipe.strategy["name"],
        backbone=recipe.backbone["name"],
        weights_id=weights.id,
        weights_sha256=weights.sha256,
        official_weights=weights.official,
        dataset=bench.source(recipe.dataset).name,
        seed=recipe.seed,
        protocol=preset_named(recipe.preset),
    )


def _save_adapter(strategy: Strategy, backbone: Backbone, bench: Workbench, record: Record) -> int:
    """Write the strategy's own tensors, and beside them the form that peft reads, where there is one.

    Returns the size of the tensors' file in bytes (0 when there are none).
    """
    tensors = strategy.state_dict(backbone)
    if not tensors:
        return 0
    path = bench.store.adapter_path(record.run_id)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"run_id": record.run_id})
    form = strategy.peft_form(backbone)
    if form is not None:
        form.save(bench.store.peft_path(record.run_id), record.weights_id)
    return path.stat().st_size
