"""How many small changes of the code a test notices: ``python benchmarks/mutants.py``.

Mutants are drawn at random among all that cosmic-ray makes of what decides numbers. Each is put into a copy of the
project and run against the tests that execute the changed lines, until one fails. What changes nothing that anybody
could see is named in ``benchmarks/mutating/equivalent.yaml`` with the reason. A second start goes on where the first
one stopped; ``--again`` runs those anew that survived. Writes ``leaderboard/mutants.{json,md}``.

Needs ``pip install -e ".[dev,mutation]"``. The project must lie in a git repository.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from mutating.drawn import Mutant, drawn
from mutating.seen import Seen
from mutating.trial import Trials, Tried

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = Path(__file__).parent / "mutating" / "equivalent.yaml"
PLACES = ("engine", "matching", "metrics", "features", "strategies", "data", "results", "recipe.py")

Done = dict[str, dict[str, Any]]  # by the mutant's name: what `Tried` has


def copied(tree: Path) -> None:
    """Copy the project as it is now, without what git ignores."""
    shutil.rmtree(tree, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)


def modules() -> list[str]:
    """Paths of all modules that decide numbers."""
    found = [ROOT / "peftcorr" / place for place in PLACES]
    files = [path for place in found for path in ([place] if place.is_file() else place.rglob("*.py"))]
    return sorted(path.relative_to(ROOT).as_posix() for path in files)


def equivalent(mutant: Mutant, named: Sequence[dict[str, str]]) -> str | None:
    """Why nobody could tell a mutant from the code, if it is named."""
    for entry in named:
        if all(entry[key] == getattr(mutant, key) for key in ("module", "within", "before", "after")):
            return entry["reason"]
    return None


class Study:
    """Tries mutants and keeps what came of them below `folder`."""

    def __init__(self, folder: Path, seconds: float):
        self._folder, self._tree, self._budget = folder, folder / "tree", seconds
        self._results = folder / "results.json"
        self.done: Done = json.loads(self._results.read_text()) if self._results.is_file() else {}
        copied(self._tree)
        self._seen = Seen(folder)
        self._trials = Trials(self._tree, folder)
        self._known = self._trials.tests()

    def run(self, mutants: Sequence[Mutant], again: bool) -> None:
        """Try every mutant that was not tried before, or that survived if `again`."""
        for number, mutant in enumerate(mutants, 1):
            before = self.done.get(mutant.name)
            if before is not None and not (again and before["outcome"] == "survived"):
                continue
            tried = self._try(mutant)
            self._keep(mutant, tried)
            print(f"{number}/{len(mutants)} {mutant.name} {mutant.module}:{mutant.line} {tried}", flush=True)

    def control(self, mutants: Sequence[Mutant]) -> None:
        """Run the tests that failed against the code as it is: what one of those that fail killed is tried anew."""
        while True:
            of = [mutant for mutant in mutants if self.done[mutant.name]["test"]]
            killers = sorted({self.done[mutant.name]["test"] for mutant in of})
            failing = {t.test for t in self._trials.run(killers, self._seen.seconds, True)} - {""}
            print(f"{len(killers)} tests killed; {len(failing)} of them fail without a mutant", flush=True)
            if not failing:
                return
            self._seen.failing |= failing
            for mutant in of:
                if self.done[mutant.name]["test"] in failing:
                    self._keep(mutant, self._try(mutant))

    def _try(self, mutant: Mutant) -> Tried:
        path = self._tree / mutant.module
        original = path.read_text(encoding="utf-8")
        tests = self._seen.tests(mutant, self._known, self._budget)
        for stale in path.parent.glob(f"__pycache__/{path.stem}.*"):
            stale.unlink()
        try:
            path.write_text(mutant.text, encoding="utf-8")
            return self._trials.run(tests, self._seen.seconds)[0]
        finally:
            path.write_text(original, encoding="utf-8")

    def _keep(self, mutant: Mutant, tried: Tried) -> None:
        self.done[mutant.name] = asdict(tried)
        partial = self._results.with_suffix(".part")
        partial.write_text(json.dumps(self.done, indent=1), encoding="utf-8")
        partial.replace(self._results)


_PAGE = """\
# Mutants

`python benchmarks/mutants.py --count {count} --seed {seed}`: {drawn} small changes drawn at random among all that
cosmic-ray {version} makes of {places}.
Each was run against the tests that execute the changed lines, until one failed.
{killed} were killed ({late} of them ran out of time), {equal} are named below as equivalent, {survived} survived:
**{score:.1f} %** of those that are not equivalent were killed. Every test that killed one passes on the code as it is.

{table}

## Survived

{survivors}

## Equivalent

{named}
"""


def page(content: dict[str, Any]) -> str:
    """Return the study as a page of Markdown."""
    from peftcorr.report.pipes import table  # late, as in `main`

    rows = content["mutants"]
    outcomes = ("killed", "equivalent", "survived")
    folders = sorted({row["module"].split("/")[1] for row in rows})
    cells = []
    for folder in folders:
        here = [row["outcome"] for row in rows if row["module"].split("/")[1] == folder]
        number = [here.count(outcome) for outcome in outcomes]
        cells.append([f"`{folder}`", str(len(here)), *map(str, number)])
    return _PAGE.format(
        **content,
        drawn=len(rows),
        places=", ".join(f"`{folder}`" for folder in folders),
        table=table(["of peftcorr/", "drawn", *outcomes], cells, left=(0,)),
        survivors=_listed([row for row in rows if row["outcome"] == "survived"]),
        named=_listed([row for row in rows if row["outcome"] == "equivalent"]),
    )


def _listed(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "None."
    lines = []
    for row in sorted(rows, key=lambda row: (row["module"], row["line"])):
        where = f"- `{row['module'].removeprefix('peftcorr/')}`, {row['within'] or 'module'}"
        before, after = (f"``{' '.join(row[key].split())}``" for key in ("before", "after"))
        lines.append(f"{where}: {before} → {after}" + (f": {row['reason']}" if row["reason"] else ""))
    return "\n".join(lines)


def summary(mutants: Sequence[Mutant], done: Done, count: int, seed: int) -> dict[str, Any]:
    """Everything that the page says."""
    named: list[dict[str, str]] = yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")) or []
    rows = []
    for mutant in mutants:
        tried, reason = done[mutant.name], equivalent(mutant, named)
        late = tried["outcome"] == "out of time"
        outcome = "killed" if late else tried["outcome"]
        if outcome == "survived" and reason is not None:
            outcome = "equivalent"
        row = {key: value for key, value in asdict(mutant).items() if key != "text"}
        row |= {"outcome": outcome, "late": late, "tests": tried["tests"], "test": tried["test"]}
        rows.append(row | {"reason": reason or ""})
    number = {key: sum(row["outcome"] == key for row in rows) for key in ("killed", "equivalent", "survived")}
    return {
        "count": count,
        "seed": seed,
        "version": metadata.version("cosmic-ray"),
        "killed": number["killed"],
        "late": sum(row["late"] for row in rows),
        "equal": number["equivalent"],
        "survived": number["survived"],
        "score": 100 * number["killed"] / max(1, number["killed"] + number["survived"]),
        "mutants": rows,
    }


def main() -> None:
    """Draw, try and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=300, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--again", action="store_true", help="try those anew that survived")
    parser.add_argument(
        "--seconds", type=float, default=60, metavar="S", help="of tests for a mutant (default: 60)"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "peftcorr-mutants",
        metavar="DIR",
        help="copy of the project, map of its tests, and what is done",
    )
    parser.add_argument("--output", type=Path, default=Path("leaderboard"), metavar="DIR")
    parsed = parser.parse_args()
    mutants = drawn(ROOT, modules(), parsed.count, parsed.seed)
    study = Study(parsed.folder, parsed.seconds)
    study.run(mutants, parsed.again)
    study.control(mutants)
    content = summary(mutants, study.done, parsed.count, parsed.seed)
    # After the last mutant: the process that tries them must not have imported peftcorr.
    from findings import write_json

    write_json(parsed.output / "mutants.json", content)
    (parsed.output / "mutants.md").write_text(page(content), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
