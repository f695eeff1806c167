"""The leaderboard's grid: every recipe of recipes/leaderboard, trained on each dataset, seed by seed.

    python benchmarks/grid.py --weights WEIGHTS_FOLDER --data-root pairs=ANIMAL_PAIRS_FOLDER \
        pf_willow=PF_WILLOW_FOLDER pf_pascal=PF_PASCAL_FOLDER

is ``peftcorr run`` recipe after recipe: what is done is not done again, and the same command goes on after an
interruption. ``--left`` lists what is not done. Other options go to ``peftcorr run`` (``--dry-run``, ``--overwrite
failed``, ``--memory``, ...). Strategies come before seeds, so that a grid that was cut short compares all of them.

Two processes share two cores, each started with one of them (``taskset -c 0``): a backbone in each, or a seed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from peftcorr.commands.options import cache_folder, data_roots
from peftcorr.console.progress import Progress
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.sweep.cells import Asked, cells
from peftcorr.sweep.here import standing

RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "leaderboard"
SEEDS: dict[str, tuple[int, ...]] = {"tiny": (0, 1, 2), "dinov2_vits14": (0, 1)}  # cheapest first
EXTERNAL_WEIGHTS = ("dinov2_vits14",)
TRAINED_ON = ("synthetic", "pairs")
STRATEGIES = ("frozen", "last-1", "last-2", "last-3", "lora", "adapter", "adaptformer")


class Batch:
    """The cells of one recipe with one seed: one call of ``peftcorr run``."""

    def __init__(self, backbone: str, strategy: str, seed: int):
        self.backbone = backbone
        self.recipe = RECIPES / backbone / f"{strategy}.yaml"
        self.seed = seed
        # Nothing is trained: the other dataset is among the test sets.
        self.datasets = TRAINED_ON[:1] if strategy == "frozen" else TRAINED_ON

    def arguments(self) -> list[str]:
        """What ``peftcorr run`` is given."""
        return ["--recipe", str(self.recipe), "--dataset", *self.datasets, "--seed", str(self.seed)]


def batches(backbones: Sequence[str], seeds: Sequence[int] = ()) -> list[Batch]:
    """The grid in the order in which it is run; the frozen backbone has one seed."""
    return [
        Batch(backbone, strategy, seed)
        for backbone in backbones
        for seed in SEEDS[backbone]
        for strategy in STRATEGIES
        if (strategy != "frozen" or seed == SEEDS[backbone][0]) and (not seeds or seed in seeds)
    ]


def main(arguments: Sequence[str]) -> int:
    """Run or list the grid; returns the exit code: 0, 1 if a cell failed, 2 if the user has something to mend."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--backbone", nargs="+", choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--seed", type=int, nargs="+", default=[], metavar="N", help="only these")
    parser.add_argument("--data-root", nargs="+", default=[], metavar="NAME=PATH")
    parser.add_argument("--weights", type=Path, metavar="PATH", help=f"of {', '.join(EXTERNAL_WEIGHTS)}")
    parser.add_argument("--output", type=Path, default=Path("leaderboard"), metavar="DIR")
    parser.add_argument("--left", action="store_true", help="list what is not done, and run nothing")
    parsed, others = parser.parse_known_args(arguments)
    chosen = batches(parsed.backbone, parsed.seed)
    if parsed.left:
        try:
            return _list(chosen, parsed)
        except PeftCorrError as error:
            print(f"grid: {error}", file=sys.stderr)
            return 2
    worst = 0
    for number, batch in enumerate(chosen, start=1):
        print(
            f"== {number} of {len(chosen)}: {batch.backbone}, {batch.recipe.stem}, seed {batch.seed}",
            flush=True,
        )
        code = subprocess.call(command(batch, parsed, others))
        if code not in (0, 1):  # not a cell that failed: it would be the same with every other recipe
            return code
        worst = max(worst, code)
    return worst


def command(batch: Batch, parsed: argparse.Namespace, others: Sequence[str]) -> list[str]:
    """The command line that runs a batch."""
    roots = ["--data-root", *parsed.data_root] if parsed.data_root else []
    weights = _weights(batch, parsed)
    given = ["--output", str(parsed.output), *roots, *(["--weights", str(weights)] if weights else [])]
    return [sys.executable, "-m", "peftcorr.cli", "run", *batch.arguments(), *given, *others]


def _weights(batch: Batch, parsed: argparse.Namespace) -> Path | None:
    weights: Path | None = parsed.weights if batch.backbone in EXTERNAL_WEIGHTS else None
    return weights


def _list(chosen: Sequence[Batch], parsed: argparse.Namespace) -> int:
    """Print every cell that is not done."""
    left = total = 0
    for backbone in dict.fromkeys(batch.backbone for batch in chosen):
        own = [batch for batch in chosen if batch.backbone == backbone]
        roots, weights = data_roots(parsed.data_root), _weights(own[0], parsed)
        bench = Workbench(roots, weights, parsed.output, cache_folder(), Progress(None), download=False)
        for batch in own:
            axes: dict[str, Sequence[object]] = {
                "dataset": [{"name": name} for name in batch.datasets],
                "seed": [batch.seed],
            }
            for _, plan in cells(Asked(axes, {}, recipe=batch.recipe), bench):
                total += 1
                found = standing(plan, bench, "missing")
                state = "left" if found is None else found[0]
                if state != "done":
                    left += 1
                    print(f"{plan.run_id}  {state:13}  {batch.recipe.stem}: {plan.title}")
    print(f"{left} of {total} cells are left.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
