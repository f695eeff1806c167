"""A strategy whose training ends in other ways than an error. Given as ``--plugin``: it registers ``doomed``."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Literal

import torch

from peftcorr.backbones import Backbone
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.norm import Norm

DOOM = "PEFTCORR_TEST_DOOM"  # environment variable: as long as that file is there, trainings end badly


class Doomed(Norm):
    """Trains the norms until its doom comes."""

    class Config(Norm.Config):
        end: Literal["well", "killed", "exit", "memory", "late"] = "well"

    def after_step(self, backbone: Backbone, step: int, steps: int) -> None:
        """Come to the end that was asked for, from the third step on."""
        if step < 3 or not Path(os.environ[DOOM]).exists():
            return
        end = self.config.end  # type: ignore[attr-defined]
        if end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "exit":
            os._exit(7)
        if end == "late":
            time.sleep(4)
        if end == "memory":
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20), resource.RLIM_INFINITY))
            torch.ones(1 << 28)


if __name__.startswith("peftcorr_plugin"):  # where a worker loads it; imported by a test it registers nothing
    STRATEGIES.register("doomed")(Doomed)
