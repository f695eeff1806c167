"""How the jobs of a sweep are carried out: here, or by a cluster's own scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftcorr.registry import Registry

if TYPE_CHECKING:
    from peftcorr.sweep.launchers.base import Launcher

__all__ = ["LAUNCHERS"]

LAUNCHERS: Registry[Launcher] = Registry(
    "launcher", "peftcorr.launchers", "peftcorr.sweep.launchers.base:Launcher"
)
LAUNCHERS.lazy(
    "local",
    "peftcorr.sweep.launchers.local:Local",
    "Workers on this machine, which share its cores and GPUs.",
)
LAUNCHERS.lazy(
    "slurm",
    "peftcorr.sweep.launchers.slurm:Slurm",
    "An array of SLURM jobs, requeued on pre-emption and time limit (peftcorr[slurm]).",
)
LAUNCHERS.lazy(
    "ray",
    "peftcorr.sweep.launchers.ray:Ray",
    "Tasks on a Ray cluster, whose nodes need no common disk (peftcorr[ray]).",
)
