"""Resumable state: what Accelerate saves, with the strategy's own tensors in place of the whole model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from peftcorr.backbones.base import Backbone
from peftcorr.errors import PeftCorrError, reason
from peftcorr.files import read_json, seal_folder, unsealed, write_json
from peftcorr.machine.agreement import everywhere
from peftcorr.results.record import SearchPoint, ValidationPoint
from peftcorr.strategies.base import Strategy

_ADAPTER = "adapter.safetensors"
_BEST = "best.safetensors"
_STRATEGY = "strategy.safetensors"
_PARTIAL = ".writing-"


class TrainingState:
    """Where a training stands: counted steps, the validation curve, and the best step's tensors.

    `losses` are those of the steps since the last validation.
    """

    def __init__(self) -> None:
        self.step = 0
        self.seconds = 0.0
        self.validation: list[ValidationPoint] = []
        self.best: dict[str, Tensor] | None = None
        self.best_step = 0
        self.losses: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """Plain values alone; the tensors go into a safetensors file."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "best_step": self.best_step,
            "validation": [point.model_dump() for point in self.validation],
            "losses": self.losses,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.step, self.seconds, self.best_step = state["step"], state["seconds"], state["best_step"]
        self.validation = [ValidationPoint(**point) for point in state["validation"]]
        self.losses = state.get("losses", [])  # states of before they were kept have none


class Checkpoints:
    """The resumable states of one training below `folder`; the newest whole one counts.

    Args:
        folder: of a run.
        accelerator: of the training.
        strategy: applied to the backbone already.
        backbone: that is trained.
        state: where the training stands.
        name: what the folder of each state is called, before the step that it is of.
    """

    def __init__(
        self,
        folder: Path,
        accelerator: Accelerator,
        strategy: Strategy,
        backbone: Backbone,
        state: TrainingState,
        name: str = "step",
    ):
        self._folder, self._accelerator, self._state, self._name = folder, accelerator, state, name
        self._strategy, self._backbone = strategy, backbone
        self._stands: int | None = None  # step of the state that was written or loaded last
        accelerator.register_for_checkpointing(state)
        accelerator.register_save_state_pre_hook(self._before_save)
        accelerator.register_load_state_pre_hook(self._before_load)

    def save(self) -> None:
        """Write a state under a temporary name, then rename it: a killed process leaves no half one.

        Where the state of this very step stands it stays: to replace it would leave none for a moment.

        Raises:
            PeftCorrError: if it cannot be written; the state before stays.
        """
        if self._stands == self._state.step:
            return
        final = self._folder / f"{self._name}-{self._state.step:08d}"
        partial = self._folder / f"{_PARTIAL}{self._state.step:08d}"
        main = self._accelerator.is_main_process
        try:
            if main:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._remove_partial()
            self._accelerator.wait_for_everyone()
            self._accelerator.save_state(str(partial), safe_serialization=True)
            self._accelerator.wait_for_everyone()
            if main:
                for random in partial.glob("random_states_*"):
                    random.unlink()  # every step draws anew from the seed
                seal_folder(partial)
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
                for older in self._whole()[:-1]:
                    shutil.rmtree(older, ignore_errors=True)
            self._accelerator.wait_for_everyone()
            self._remove_partial()  # of a machine with a disk of its own, where nothing was renamed
        except (OSError, RuntimeError, SafetensorError, PeftCorrError) as error:
            if main:
                self._remove_partial()  # or the disk stays full
            cause = error.__cause__ if isinstance(error, PeftCorrError) else error
            why = getattr(cause, "strerror", None) or reason(cause or error)
            raise PeftCorrError(
                f"Cannot write the training state below {self._folder} ({why}): free some space, or make the folder "
                "writable, and run the same command again; it goes on from the last state."
            ) from error
        self._accelerator.wait_for_everyone()
        self._stands = self._state.step

    def resume(self, say: Callable[[str], None]) -> bool:
        """Load the newest sound state, if there is one. A damaged one is set aside, and said.

        Raises:
            PeftCorrError: if it is sound and cannot be loaded all the same.
        """
        newest: Path | None = None
        if self._accelerator.is_main_process:
            self._remove_partial()
            for state in self._whole():
                if (damage := unsealed(state)) is not None:
                    say(f"The training state {state} is damaged ({damage}): it is set aside and not used.")
                    set_aside(state)
            newest = next(iter(self._whole()[::-1]), None)
        with everywhere(newest, self._folder) as found:
            if found is None:
                return False
            try:
                self._accelerator.load_state(str(found))
            except PeftCorrError:
                raise
            except Exception as error:  # a state of other versions fails in as many ways as it has files
                raise PeftCorrError(
                    f"The training state {found} cannot be read ({reason(error)}): delete it to train anew."
                ) from error
        self._stands = self._state.step
        return True

    def _remove_partial(self) -> None:
        for left in self._folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _whole(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._name}-*"))

    def _before_save(self, models: list[Any], weights: list[dict[str, Tensor]], folder: str) -> None:
        weights.clear()  # what is frozen needs no saving
        if self._accelerator.is_main_process:
            save_file(self._strategy.state_dict(self._backbone), Path(folder) / _ADAPTER)
            if self._state.best is not None:
                save_file(self._state.best, Path(folder) / _BEST)
            remembered = self._strategy.training_state()
            if remembered:
                save_file(remembered, Path(folder) / _STRATEGY)

    def _before_load(self, models: list[Any], folder: str) -> None:
        models.clear()
        self._strategy.load_state_dict(self._backbone, load_file(Path(folder) / _ADAPTER))
        best = Path(folder) / _BEST
        self._state.best = load_file(best) if best.is_file() else None
        remembered = Path(folder) / _STRATEGY
        if remembered.is_file():
            self._strategy.load_training_state(self._backbone, load_file(remembered))


def read_search(folder: Path, say: Callable[[str], None]) -> list[SearchPoint]:
    """Candidates of the search that an earlier, interrupted process finished; a damaged file is set aside, and said."""
    path = folder / "search.json"
    if not path.is_file():
        return []
    try:
        return [SearchPoint(**point) for point in read_json(path)["points"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        say(
            f"{path} is damaged ({reason(error)}): it is set aside, and the learning rates are searched anew."
        )
        set_aside(path)
        return []


def set_aside(path: Path) -> None:
    """Give a damaged file or folder a name that nothing reads; it goes when the run is done."""
    with suppress(OSError):  # another process of ours did
        path.rename(path.with_name(f".damaged-{path.name}-{time.time_ns()}"))


def write_search(folder: Path, points: list[SearchPoint], number: int) -> None:
    """Keep the finished candidates, and drop the states of the last one, whose number that is.

    Raises:
        PeftCorrError: if they cannot be written.
    """
    write_json(folder / "search.json", {"points": [point.model_dump() for point in points]})
    for state in folder.glob(f"search-{number}-step-*"):
        shutil.rmtree(state, ignore_errors=True)
