"""One recipe, one result: the same training by one, two and three processes, and by others after an interruption.

    python benchmarks/processes.py

For each strategy on `tiny` (the embedded benchmark) and, where the real photographs are, on DINOv2 ViT-S
(animal-pairs at 112 px): how far the first step's gradient, the weights after the last step and the scores are from
those of one process. Writes ``processes.md`` and ``processes.json`` to --page, where rows of other backbones stay.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from timing import page
from timing.settings import PROJECT, WEIGHTS, available, shared
from torch import Tensor

STEPS, HALF = 10, 5
STRATEGIES = {
    "lora": ["strategy.name=lora"],
    "last-1": ["strategy.name=last_k", "strategy.k=1"],
    "adaptformer": ["strategy.name=adaptformer", "strategy.dropout=0"],
    "full": ["strategy.name=full"],
}
_START, _GRADIENT = "start.safetensors", "gradient.safetensors"


@dataclass(frozen=True)
class Case:
    """One backbone on one dataset."""

    name: str
    arguments: tuple[str, ...]


CASES = (
    Case("tiny", ("--limit-pairs", "100")),
    Case(
        "dinov2_vits14",
        (
            "--backbone", "dinov2_vits14", "--image-size", "112", "--weights", str(shared() / WEIGHTS),
            "--dataset", "pairs", "--data-root", str(shared() / "data/animal-pairs"), "--limit-pairs", "40",
        ),
    ),
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Measure everything and write the page, or be one of the processes (``--worker``)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--page", type=Path, default=PROJECT / "leaderboard", help="folder of the results")
    parser.add_argument(
        "--strategy", nargs="+", choices=tuple(STRATEGIES), default=list(STRATEGIES), help="these alone"
    )
    parser.add_argument("--backbone", nargs="+", choices=[case.name for case in CASES], help="these alone")
    if arguments[:1] == ["--worker"]:  # what follows is a command line of peftcorr's own
        return _worker(Path(arguments[1]), int(arguments[2]), arguments[3:])
    parsed = parser.parse_args(arguments)
    cases = [
        case
        for case in CASES
        if case.name in (parsed.backbone or [case.name])
        and (case.name == "tiny" or available("data/animal-pairs", WEIGHTS))
    ]
    rows = []
    with tempfile.TemporaryDirectory(prefix="peftcorr-processes-") as work:
        for case in cases:
            for strategy in parsed.strategy:
                rows += _compare(case, strategy, Path(work))
                print(*map(json.dumps, rows[-4:]), sep="\n", flush=True)
    found = parsed.page / "processes.json"
    if found.is_file():
        measured = {case.name for case in cases}
        kept = json.loads(found.read_text(encoding="utf-8"))["rows"]
        rows = [row for row in kept if row["backbone"] not in measured] + rows
    content = {"schema_version": 1, "machine": page.machine(), "steps": STEPS, "rows": rows}
    parsed.page.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    head = json.dumps({**content, "rows": None})[: -len("null}")]
    found.write_text(f"{head}[\n{lines}\n]}}\n", encoding="utf-8")
    (parsed.page / "processes.md").write_text(_markdown(rows), encoding="utf-8")
    return 0


def _compare(case: Case, strategy: str, work: Path) -> list[dict[str, Any]]:
    """A row for each way to share the training out, beside one process."""
    ways: dict[str, list[tuple[int, int]]] = {
        "1": [(1, 0)], "2": [(2, 0)], "3": [(3, 0)], "1, then 2": [(1, HALF), (2, 0)], "2, then 1": [(2, HALF), (1, 0)],
    }  # fmt: skip
    found: dict[str, Path] = {}
    for way, parts in ways.items():
        found[way] = work / f"{case.name}-{strategy}-{way}".replace(", then ", "-")
        for processes, stop in parts:
            _launch(case, strategy, found[way], processes, stop)
    alone = _Result(found["1"])
    return [
        {"backbone": case.name, "strategy": strategy, "processes": way, **_Result(folder).beside(alone)}
        for way, folder in found.items()
        if way != "1"
    ]


class _Result:
    """What one way left."""

    def __init__(self, folder: Path):
        [record] = (folder / "records").glob("*.json")
        self.record: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        self.adapter = load_file(folder / "adapters" / f"{record.stem}.safetensors")
        self.start, self.gradient = load_file(folder / _START), load_file(folder / _GRADIENT)

    def beside(self, other: _Result) -> dict[str, Any]:
        """Differences from another one."""
        change = {name: other.adapter[name] - other.start[name] for name in other.adapter}
        keypoints = []
        for split, predictors in self.record["scores"].items():
            for predictor, scores in predictors.items():
                theirs = other.record["scores"][split][predictor]
                for alpha, value in scores["per_keypoint"].items():
                    apart = abs(value - theirs["per_keypoint"][alpha])
                    keypoints.append(apart / 100 * scores["n_keypoints"])
        return {
            "same_id": self.record["run_id"] == other.record["run_id"],
            "gradient": _relative(self.gradient, other.gradient, other.gradient),
            "weights": _relative(self.adapter, other.adapter, change),
            "keypoints": round(max(keypoints)),
        }


def _relative(one: dict[str, Tensor], other: dict[str, Tensor], scale: dict[str, Tensor]) -> float:
    def norm(tensors: list[Tensor]) -> float:
        return float(torch.stack([tensor.double().norm() for tensor in tensors]).norm())

    return norm([one[name] - other[name] for name in other]) / norm(list(scale.values()))


def _launch(case: Case, strategy: str, folder: Path, processes: int, stop: int) -> None:
    run = ["run", *case.arguments, "--output", str(folder), "--set", *STRATEGIES[strategy]]
    run += [f"training.steps={STEPS}", "training.images=6", "training.validate_every=1000"]
    run += [f"training.checkpoint_every={HALF}"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *launcher, __file__, "--worker", str(folder), str(stop), *run]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode and not stop:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")


def _worker(folder: Path, stop: int, arguments: Sequence[str]) -> int:
    """One process of a run: keeps the first step's gradient, and ends before step `stop` + 1."""
    from peftcorr.cli import main as peftcorr
    from peftcorr.engine.optimisation import Optimisation, Stepped

    plain_step, plain_optimiser = Optimisation.step, torch.optim.AdamW.step
    main_process = os.environ.get("RANK", "0") == "0"

    def keep(optimizer: torch.optim.AdamW, *given: Any, **options: Any) -> Any:
        owner = running[0]
        if main_process and not (folder / _GRADIENT).exists():
            named = [(n, p) for n, p in owner._backbone.named_parameters() if p.requires_grad]
            folder.mkdir(parents=True, exist_ok=True)
            save_file({n: p.detach().clone() for n, p in named}, folder / _START)
            save_file({n: p.grad.clone() for n, p in named if p.grad is not None}, folder / _GRADIENT)
        return plain_optimiser(optimizer, *given, **options)

    running: list[Optimisation] = []

    def step(self: Optimisation, number: int) -> Stepped:
        running[:] = [self]
        if stop and number == stop:
            raise KeyboardInterrupt
        return plain_step(self, number)

    torch.optim.AdamW.step = keep  # type: ignore[method-assign, assignment]
    Optimisation.step = step  # type: ignore[method-assign, assignment]
    return peftcorr(list(arguments))


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    header = "| backbone | strategy | processes | same run id | first gradient | weights | keypoints |"
    lines = [
        f"| {row['backbone']} | {row['strategy']} | {row['processes']} | {'yes' if row['same_id'] else 'no'} | "
        f"{row['gradient']:.1e} | {row['weights']:.1e} | {row['keypoints']} |"
        for row in rows
    ]
    return (
        f"""# One recipe, one result, however many processes

Made by `python benchmarks/processes.py`: {STEPS} steps of six images, on the CPU, each beside the same recipe by one
process. *first gradient*: norm of the difference of the first step's gradients over the norm of the gradient.
*weights*: norm of the difference of the trained tensors over that of their change (Adam magnifies rounding).
*keypoints*: how many keypoints more or fewer are correct, at most over predictors and thresholds. *1, then 2* was
interrupted after {HALF} steps and resumed by two.

{header}
| --- | --- | --- | --- | ---: | ---: | ---: |
"""
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
