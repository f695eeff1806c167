"""``peftcorr validate``: a recipe checked, and printed whole."""

from __future__ import annotations

import argparse
from pathlib import Path

from peftcorr.machine.startup import importing

SUMMARY = "Check a recipe and print it with every default written out."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="YAML file")


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if the recipe is wrong, naming the key.
    """
    with importing():
        import yaml

        from peftcorr.recipe import resolve

    recipe = resolve({}, [], parsed.recipe)
    print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), end="")
    return 0
