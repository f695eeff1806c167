"""``peftcorr match``: points of one picture found in others, by a finished run or a backbone as it comes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from peftcorr.commands import options
from peftcorr.console.table import print_table, print_whole
from peftcorr.errors import PeftCorrError, shown
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from peftcorr.model import Model

SUMMARY = "Find points of one picture in others."

EXAMPLES = """examples:
  two points, by a run and drawn:
    peftcorr match cat.jpg dog.jpg --points 120,80 200,90 --run 05c4 --picture matches.png
  by a backbone as it comes, in several pictures:
    peftcorr match cat.jpg dog.jpg cow.jpg --points 120,80 --backbone tiny
"""


def _point(text: str) -> tuple[float, float]:
    x, _, y = text.partition(",")
    try:
        return float(x), float(y)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no point: write x,y, as in 120,80") from None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.epilog = EXAMPLES
    parser.add_argument("image_a", type=Path, metavar="A", help="picture that the points are on")
    parser.add_argument(
        "image_b", type=Path, nargs="+", metavar="B", help="pictures that they are looked for in"
    )
    parser.add_argument(
        "--points", type=_point, nargs="+", required=True, metavar="X,Y",
        help="in pixels of A as it is shown; the centre of the first is 0,0",
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", dest="which", metavar="RUN", help="run id, or the beginning of one; its folder; or "
                       "user/name on the hub")  # fmt: skip
    which.add_argument("--backbone", metavar="NAME", help="a backbone as it comes")
    parser.add_argument(
        "--predictor", metavar="NAME", help="how points are read off similarities (default: the run's first)"
    )
    parser.add_argument(
        "--category", metavar="NAME", help="what is on the pictures, for a backbone whose prompt names it"
    )
    parser.add_argument(
        "--device", metavar="NAME", help="where it computes (default: an accelerator, if any)"
    )
    options.add_image_size(parser)
    options.add_weights(parser)
    options.add_output(parser)
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the pictures side by side with the matches"
    )
    parser.add_argument("--json", action="store_true", help="print the matches as JSON")


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if the run or an image is not found, or a point is outside of its image.
    """
    form = None if parsed.picture is None else _format(parsed.picture)
    with importing():
        from peftcorr.machine.launch import use_all_cores
        from peftcorr.model.load import load

        use_all_cores()

    model = load(
        parsed.which,
        backbone=parsed.backbone,
        weights=parsed.weights,
        image_size=parsed.image_size,
        predictor=parsed.predictor,
        device=parsed.device,
        output=parsed.output,
    )
    points, similarity = model.match(parsed.image_a, parsed.image_b, parsed.points, category=parsed.category)
    matches = [
        {
            "image_b": str(path),
            "points": [
                {"a": list(point), "b": b, "similarity": s}
                for point, b, s in zip(parsed.points, found, peaks, strict=True)
            ],
        }
        for path, found, peaks in zip(parsed.image_b, points.tolist(), similarity.tolist(), strict=True)
    ]
    console = Console()
    if parsed.json:
        print(json.dumps({**_named(model), "image_a": str(parsed.image_a), "matches": matches}, indent=1))
    else:
        _print(matches, console)
    if form is not None:
        _draw(parsed.image_a, parsed.image_b, matches, parsed.picture, form)
        if not parsed.json:
            print_whole(console, f"Drawn: {parsed.picture}")
    return 0


def _format(path: Path) -> str:
    """The format that a file's name asks for.

    Raises:
        PeftCorrError: if there is none of that name.
    """
    form = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(path.suffix.lower())
    if form is None:
        raise PeftCorrError(f"--picture {path}: give it a name that ends with .png, .jpg or .webp.")
    return form


def _named(model: Model) -> dict[str, Any]:
    """What matched, as JSON has it."""
    recipe = model.recipe
    return {
        "run_id": None if model.record is None else model.record.run_id,
        "strategy": recipe.strategy["name"],
        "backbone": recipe.backbone["name"],
        "image_size": recipe.backbone["image_size"],
        "predictor": recipe.predictors[0],
    }


def _print(matches: Sequence[dict[str, Any]], console: Console) -> None:
    rows: list[list[str] | None] = []
    for match in matches:
        for point in match["points"]:
            (x, y), (found_x, found_y) = point["a"], point["b"]
            rows.append(
                [
                    match["image_b"],
                    f"{x:g}",
                    f"{y:g}",
                    f"{found_x:.1f}",
                    f"{found_y:.1f}",
                    f"{point['similarity']:.3f}",
                ]
            )
    print_table(console, ["picture", "x in A", "y in A", "x", "y", "similarity"], rows)


def _draw(
    first: Path, others: Sequence[Path], matches: Sequence[dict[str, Any]], path: Path, form: str
) -> None:
    from peftcorr.data.given import picture
    from peftcorr.files import atomic_path
    from peftcorr.report.side_by_side import Mark, side_by_side, stacked

    source = picture(first).pixels
    drawings = [
        side_by_side(
            source,
            picture(other).pixels,
            [Mark(tuple(point["a"]), tuple(point["b"])) for point in match["points"]],
            other.name,
        )
        for other, match in zip(others, matches, strict=True)
    ]
    with atomic_path(path) as temporary:
        stacked(drawings).save(temporary, format=form)
