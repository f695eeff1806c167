"""The file to read first: one run, from its plan to its record, in the order the data flows.

recipe -> plan -> backbone + strategy -> training -> features, matching -> predictions -> scores -> record
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from safetensors.torch import save_file

from peftcorr.backbones import Backbone
from peftcorr.data.guard import selecting
from peftcorr.engine.evaluate import Split, evaluator
from peftcorr.engine.flip import require_one_process
from peftcorr.engine.plan import Plan
from peftcorr.engine.scoring import score
from peftcorr.engine.sharing import shared_prefixes
from peftcorr.engine.space import kept_blocks
from peftcorr.engine.task import Task
from peftcorr.engine.trackers import Tracked, Trackers
from peftcorr.engine.train import Trained, Trainer
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError, RecipeFails, reason, told
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from peftcorr.files import atomic_path
from peftcorr.machine.agreement import everyones
from peftcorr.machine.devices import device_name
from peftcorr.machine.termination import Terminated, asked
from peftcorr.predictions import write_predictions
from peftcorr.registry import blaming_plugins
from peftcorr.results.environment import PeakMemory, environment
from peftcorr.results.record import Cost, Record
from peftcorr.strategies.base import Strategy


def run(plan: Plan, bench: Workbench) -> Record:
    """Carry out one run and write its predictions, its adapter and its record.

    Raises:
        PeftCorrError: if anything the user can mend goes wrong; a record of the failure is left, unless a whole one
            of an earlier run stands there. It stands only if the recipe is at fault.
    """
    record = _blank_record(plan)
    try:
        with blaming_plugins():
            return _run(plan, bench, _accelerator(plan.recipe.precision), record)
    except Exception as error:
        if asked():  # another process of ours ended first, and this one lost its connection
            raise Terminated from error
        _record_failure(record, error, bench, plan.recipe.precision)
        raise


def _accelerator(precision: str) -> Accelerator:
    """One of a precision: a process has one state of Accelerate, which keeps that of the cell before.

    Raises:
        PeftCorrError: if the device has no such precision.
    """
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # the processes stay
    try:
        return Accelerator(mixed_precision=precision)
    except ValueError as error:
        raise PeftCorrError(
            f"precision={precision} is not to be had here ({reason(error)}): choose another precision."
        ) from error


def _record_failure(record: Record, error: Exception, bench: Workbench, precision: str) -> None:
    own = isinstance(error, PeftCorrError)
    standing = bench.store.read(record.run_id)
    processes = PartialState().num_processes
    # Where another process failed first, this one only lost its connection, and the reason stands there already.
    echo = processes > 1 and not own and standing is not None
    if echo or (standing is not None and standing.status != "failed"):
        return
    failed = {
        "error": told(error),
        "retry": not isinstance(error, RecipeFails),
        "environment": environment(processes, precision, bench.output),
    }
    with suppress(PeftCorrError):  # the disk may be full: what went wrong first is what is said
        bench.store.write(record.model_copy(update=failed))


def _run(plan: Plan, bench: Workbench, accelerator: Accelerator, record: Record) -> Record:
    if plan.recipe.flip == "adaptive":
        require_one_process(accelerator.num_processes)
    memory = PeakMemory(accelerator.device)
    memory.reset()
    set_seed(plan.recipe.seed)

    with selecting():
        contract = plan.model.begin(accelerator.device)
        backbone, strategy = contract.backbone, contract.strategy
        if plan.initial is not None:
            plan.initial.put(strategy, backbone)
        trained = train(plan, bench, backbone, strategy, accelerator)
        contract.end()

    scored = score(plan, bench, backbone, accelerator)
    forwards = torch.tensor(scored.forwards, device=accelerator.device)
    peaks, devices = everyones(memory.read()), everyones(device_name(accelerator.device))
    record = record.model_copy(
        update={
            "status": "ok",
            "trainable_parameters": backbone.trainable_parameters(),
            "total_parameters": backbone.total_parameters(),
            "scores": scored.scores,
            "tracking": scored.tracking,
            "generalisation": scored.generalisation,
            "validation": trained.validation,
            "best_step": trained.best_step,
            "unselected": plan.trains and not trained.validation,
            "learning_rate": trained.learning_rate,
            "learning_rate_search": trained.search,
            "leakage": scored.leakage or None,
            "cost": Cost(
                train_seconds=trained.seconds,
                eval_seconds=scored.seconds,
                peak_memory_bytes=peaks[accelerator.process_index],
                peak_memory_by_process=peaks,
                encoder_forwards=int(accelerator.reduce(forwards, "sum")),
                steps=trained.steps,
            ),
            "environment": environment(
                accelerator.num_processes, plan.recipe.precision, bench.output, devices
            ),
        }
    )
    if accelerator.is_main_process:
        store, predictions = bench.store, bench.store.predictions_path(record.run_id)
        write_predictions(pa.concat_tables(scored.tables), predictions)
        size, adapters = _save_adapter(strategy, backbone, bench, record)
        files = {
            name: value
            for path in (predictions, *adapters)
            for name, value in store.file_digest(path).items()
        }
        store.write(record.model_copy(update={"adapter_bytes": size, "files": files}))
        store.drop_state(record.run_id)
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    return record


def train(
    plan: Plan, bench: Workbench, backbone: Backbone, strategy: Strategy, accelerator: Accelerator
) -> Trained:
    """Train on the dataset's trn split, selecting on val where there is one; a frozen backbone needs neither."""
    if not plan.trains:
        return Trained(0, 0.0, None, None, [], [])
    recipe = plan.recipe
    # The frozen blocks' output is the same at every step: kept once an image, for training and validation alike.
    first, kept_as = kept_blocks(plan, strategy.first_trainable_block(backbone))
    if first > 0 and recipe.training.colour_jitter:
        bench.progress.say(
            "training.colour_jitter makes every image new: the frozen blocks' output is not kept."
        )
    encoder = Encoder(backbone, None, accelerator.device, accelerator.autocast, first)
    own = PrefixStore(kept_as) if kept_as is not None else None

    def opened(split: str) -> Split:
        found = bench.split(plan.dataset, split, plan.model.options, None, plan.framing)
        kept = shared_prefixes(plan, bench, encoder, found, kept_as) if kept_as is not None else None
        return Split(found.dataset, found.data, found.store, kept or own)

    validated = "val" in plan.dataset.splits()
    if not validated:
        bench.progress.say(
            f"{plan.dataset.name} has no val split: nothing selects a step, and the last one is kept. These scores are "
            "not comparable with those of runs that select."
        )
    task = Task(
        recipe.training,
        recipe.seed,
        opened("trn"),
        opened("val") if validated else None,
        plan.predictors[0],
    )
    validator = evaluator(
        encoder, accelerator, recipe.encode_batch, bench.progress, convention=plan.convention
    )
    state = bench.store.state_path(plan.run_id)
    trackers = None
    if bench.track:
        told = Tracked(
            plan.title, plan.run_id, recipe.model_dump(mode="json"), bench.store.trackers_path, state
        )
        trackers = Trackers(bench.track, told, bench.progress.say)
    return Trainer(task, strategy, validator, state, trackers).run()


def _blank_record(plan: Plan) -> Record:
    recipe, weights = plan.recipe, plan.model.weights
    assert weights is not None
    return Record(
        run_id=plan.run_id,
        status="failed",
        recipe=recipe.model_dump(mode="json"),
        ingredients=dict(plan.ingredients),
        chain=[] if plan.initial is None else list(plan.initial.chain),
        strategy=recipe.strategy["name"],
        backbone=recipe.backbone["name"],
        weights_id=weights.id,
        weights_sha256=weights.sha256,
        weights_commit=weights.commit,
        official_weights=weights.official,
        dataset=plan.dataset.name,
        seed=recipe.seed,
        protocol=plan.preset,
    )


def _save_adapter(
    strategy: Strategy, backbone: Backbone, bench: Workbench, record: Record
) -> tuple[int, list[Path]]:
    """Write the strategy's own tensors, and beside them the form that peft reads, where there is one.

    Returns the size of the tensors' file in bytes (0 when there are none), and what was written.
    """
    tensors = strategy.state_dict(backbone)
    if not tensors:
        return 0, []
    path = bench.store.adapter_path(record.run_id)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"run_id": record.run_id})
    form = strategy.peft_form(backbone)
    if form is not None:
        form.save(bench.store.peft_path(record.run_id), record.weights_id)
        return path.stat().st_size, [path, bench.store.peft_path(record.run_id)]
    return path.stat().st_size, [path]
