"""Options that several subcommands share, each with its one text, and what their values mean on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peftcorr.errors import PeftCorrError
from peftcorr.machine.folders import cache_folder as cache_folder

OUTPUT = Path("runs")
"""Where runs go unless ``--output`` says otherwise; the repository's own leaderboard is ``--output leaderboard``."""

MANY: dict[str, Any] = {"nargs": "+", "default": []}
RUN = "run id, the beginning of one, or a file of predictions"
ALPHAS = (0.05, 0.1, 0.2)


def add_output(parser: argparse.ArgumentParser, text: str = "folder of the runs") -> None:
    """``--output``."""
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="DIR", help=f"{text} (default: {OUTPUT})"
    )


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """``--data-root`` of commands with several datasets; read by `data_roots`."""
    parser.add_argument(
        "--data-root", metavar="[NAME=]PATH", **MANY,
        help="folder of a dataset; without NAME, of every dataset that no other is given for",
    )  # fmt: skip


def add_weights(parser: argparse.ArgumentParser) -> None:
    """``--weights``."""
    parser.add_argument(
        "--weights", type=Path, metavar="PATH",
        help="folder with config.json and model.safetensors or pytorch_model.bin, or the file that the model's makers "
        "publish (.pth of DINOv2, DINOv3, Segment Anything); default: what ships with the package, else the Hugging "
        "Face hub",
    )  # fmt: skip


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """``--recipe`` and ``--set``."""
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="YAML file; the command line wins over it"
    )
    parser.add_argument(
        "--set", metavar="key=value", action="extend", **MANY,
        help="any key of the recipe, values in YAML or text, for example strategy.rank=4 training.steps=100",
    )  # fmt: skip


def add_image_size(parser: argparse.ArgumentParser) -> None:
    """``--image-size``."""
    parser.add_argument(
        "--image-size", type=int, metavar="N",
        help="side of the square input, in pixels (default: the backbone's own)",
    )  # fmt: skip


def data_roots(given: Sequence[str]) -> dict[str, Path]:
    """``--data-root`` as folders by dataset name; ``""`` is the folder of every other."""
    roots = {}
    for text in given:
        name, equals, path = text.partition("=")
        roots[name if equals else ""] = expanded(Path(path if equals else text))
    return roots


def expanded(path: Path) -> Path:
    """A path whose ``~`` is written out.

    Raises:
        PeftCorrError: if nobody knows that home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise PeftCorrError(f"There is no home folder for {path}: write the whole path.") from error
