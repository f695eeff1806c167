"""``peftcorr breakdown RUN``: where a run is good and where it is not, from its saved predictions."""

from __future__ import annotations

import argparse

from rich.console import Console

from peftcorr.commands.options import ALPHAS, RUN, add_output
from peftcorr.console.table import print_line, print_table, print_whole
from peftcorr.errors import PeftCorrError, did_you_mean, shown
from peftcorr.machine.startup import importing

SUMMARY = "Break one run's scores down by what makes pairs hard."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("run_id", metavar="RUN", help=RUN)
    add_output(parser, "folder of the runs; the page and its figures go to DIR/breakdowns")
    parser.add_argument(
        "--alphas", type=float, nargs="+", metavar="A", help="thresholds of PCK (default: those of the run)"
    )
    parser.add_argument("--predictor", metavar="NAME", help="this one alone")


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if the run is not found or cannot be scored, or the page cannot be written.
    """
    with importing():
        from peftcorr.files import atomic_path
        from peftcorr.metrics.aggregate import score_predictions
        from peftcorr.metrics.breakdown import Breakdown, breakdown
        from peftcorr.metrics.rows import groups
        from peftcorr.report.breakdown import brief, page, sheets
        from peftcorr.report.configuration import description
        from peftcorr.report.curve import draw_curve
        from peftcorr.report.file_names import file_name
        from peftcorr.results.protocol import agreed_alphas, agreed_preset
        from peftcorr.results.runs import checked_predictions, find_predictions, record_beside

    path = find_predictions(parsed.run_id, parsed.output)
    predictions = checked_predictions(path)
    record, names = record_beside(path), (parsed.run_id, "")
    preset = agreed_preset((record, None), names)
    alphas = parsed.alphas or agreed_alphas((record, None), names) or list(ALPHAS)
    score_predictions(predictions, alphas, preset)  # says what is wrong with it
    unseen = {} if record is None else record.generalisation
    found: dict[str, dict[str, Breakdown]] = {}
    there: dict[str, None] = {}
    for (dataset, split, predictor), rows in groups(predictions):
        there[predictor] = None
        if parsed.predictor in (None, predictor):
            where = f"{dataset}/{split}"
            found.setdefault(where, {})[predictor] = breakdown(
                dataset, rows, alphas, unseen.get(where), preset
            )
    if not found:
        raise PeftCorrError(
            f"The run has no predictor {shown(parsed.predictor)}.{did_you_mean(parsed.predictor, there)}"
        )
    title = path.stem if record is None else f"{path.stem}, {description(record)}"
    folder = parsed.output / "breakdowns"
    figures: dict[str, str] = {}
    for split in found:
        figures[split] = file_name(f"{path.stem} {split}", ".svg", figures.values())
    written = folder / file_name(path.stem, ".md")
    for split, predictors in found.items():
        with atomic_path(folder / figures[split]) as temporary:
            temporary.write_bytes(draw_curve(split, predictors))
    with atomic_path(written) as temporary:
        temporary.write_text(page(title, found, figures, preset), encoding="utf-8", newline="\n")
    console = Console()
    for split, predictors in found.items():
        for predictor, result in predictors.items():
            told, left_out = brief(result)
            for sheet in sheets(told):
                title = f"{split}, {predictor}: {sheet.title}"
                print_table(console, sheet.header, sheet.rows, title=title)
                console.print()
            if left_out:
                print_line(console, f"Groups of one pair that the page alone has: {left_out}.")
    if preset.name != "peftcorr":
        print_line(console, f"A keypoint is correct as defined by {preset.name}, which the record follows.")
    print_whole(console, str(written))
    return 0
