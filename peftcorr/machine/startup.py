"""The seconds before a command begins: what takes long to import, and what is said meanwhile."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from peftcorr.errors import PeftCorrError
from peftcorr.machine.termination import Terminated, asked
from peftcorr.machine.version import VERSION

_LOADING = f"peftcorr {VERSION}: loading libraries ..."

_SHARDING = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}

_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "TOKENIZERS_PARALLELISM": "false",
    # Progress of the libraries would garble ours. transformers follows the hub; TQDM_DISABLE is for all others.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
}


def quiet_libraries() -> None:
    """Ask libraries for no bars and no telemetry, unless the user asks for them; heard by what is imported later."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def is_main_process() -> bool:
    """Whether this is the process of several that speaks, before anything is imported that knows of the others."""
    return os.environ.get("RANK", "0") == "0"


def refuse_sharding() -> None:
    """Refuse the plugins of ``accelerate config`` that take a model apart, before anything is imported.

    Raises:
        PeftCorrError: if one is asked for.
    """
    for variable, name in _SHARDING.items():
        if os.environ.get(variable, "false").lower() in ("1", "true", "yes", "on"):
            raise PeftCorrError(
                f"{name} is asked for by accelerate config or {variable}, but here every process holds the whole "
                "backbone: choose plain multi-GPU, for example accelerate launch --multi_gpu, with one node or several."
            )


def announce() -> None:
    """Say at once that something has begun, in a line of its own where `importing` has no terminal to say it on."""
    if is_main_process() and not _has_terminal():
        print(_LOADING, flush=True)


@contextmanager
def uncollected() -> Iterator[None]:
    """Import in the block without looking for garbage, now and later, among what stays for ever.

    Millions of objects are made that live as long as the process. Looking through them again and again takes a fifth
    of the imports' time, and time of everything that comes after.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect()  # what is garbage by now would stay for ever too
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


@contextmanager
def importing() -> Iterator[None]:
    """Import torch and what stands on it in the block, without looking for garbage among what stays for ever.

    On a terminal a line says so until the block ends.

    Raises:
        Terminated: if SIGTERM came in the block, though a library swallowed it.
    """
    shown = is_main_process() and _has_terminal()
    if shown:
        print(_LOADING, end="", file=sys.stderr, flush=True)
    try:
        with uncollected():
            yield
    except Exception as error:
        if asked():  # a library swallowed what SIGTERM raised in its import, and is half imported
            raise Terminated from error
        raise
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if asked():
        raise Terminated


def _has_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
