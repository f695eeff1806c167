"""Trackers by name: which of them are installed, told before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from peftcorr.errors import PeftCorrError

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""What ``--track`` takes; each is also the name of its package and of an extra of this one."""

_LOCAL = ("sqlalchemy", "alembic")  # what MLflow needs beside itself where no server is named


def require_installed(names: Iterable[str]) -> None:
    """Refuse a tracker whose package is absent.

    Raises:
        PeftCorrError: naming it and the extra that brings it.
    """
    for name in names:
        for package in (name, *(_LOCAL if name == "mlflow" and not has_server(name) else ())):
            if find_spec(package) is None:
                raise PeftCorrError(
                    f"--track {name} needs the package {package}: pip install 'peftcorr[{name}]'."
                )


def has_server(name: str) -> bool:
    """Whether what a tracker is told goes to a server, not to a file on this machine."""
    return name == "wandb" or (name == "mlflow" and bool(os.environ.get("MLFLOW_TRACKING_URI")))


def settle(folder: Path) -> None:
    """Set, for what is imported later, where MLflow writes unless the user says so, and how soon it gives up.

    Args:
        folder: for its database. MLflow's own choice is the folder that the command was started in.
    """
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{folder.absolute() / 'mlflow.db'}")
    # A server that is away would else hold up a training for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
