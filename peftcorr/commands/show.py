"""``peftcorr show RUN``: the matches of a finished run as pictures, and a page of them all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from peftcorr.commands import options
from peftcorr.console.table import print_whole
from peftcorr.errors import PeftCorrError, did_you_mean, shown
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    import pyarrow as pa

    from peftcorr.model.album import Chosen
    from peftcorr.report.matches import Matches
    from peftcorr.results.record import Record
    from peftcorr.results.store import Store

SUMMARY = "Draw a run's matches on its pictures, the worst first."

_WORST = 20
_OVERVIEW = "overview.png"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("run_id", metavar="RUN", help="run id, or the beginning of one; or its folder")
    parser.add_argument(
        "-o", "--to", dest="folder", type=Path, required=True, metavar="FOLDER",
        help="where the page and its pictures go: a new or empty folder",
    )  # fmt: skip
    parser.add_argument(
        "--dataset", metavar="NAME", help="of those that the run was scored on (default: the first)"
    )
    parser.add_argument("--predictor", metavar="NAME", help="default: the first of the recipe")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--worst", type=int, metavar="N",
        help=f"pairs with the fewest right keypoints; with --against, of either kind (default: {_WORST})",
    )  # fmt: skip
    which.add_argument("--pair", nargs="+", default=[], metavar="ID", help="these pairs")
    parser.add_argument("--category", metavar="NAME", help="pairs of this one alone")
    parser.add_argument(
        "--against", metavar="RUN2",
        help="another run: show what one gets right and the other does not, most such keypoints first",
    )  # fmt: skip
    parser.add_argument(
        "--alpha", type=float, metavar="A", help="threshold (default: what the leaderboard ranks by)"
    )
    parser.add_argument(
        "--preset", metavar="NAME", help="definition of right (default: the one that the record follows)"
    )
    parser.add_argument(
        "--heatmap", action="store_true",
        help="draw the maps of similarity of each pair's worst keypoints too, which needs the model",
    )  # fmt: skip
    parser.add_argument(
        "--overview", action="store_true",
        help="draw the way from two pictures to a point too, on the first pair asked for or the best, which needs the "
        "model",
    )  # fmt: skip
    options.add_data_root(parser)
    options.add_weights(parser)
    options.add_output(parser)


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand.

    Raises:
        PeftCorrError: if the run, its predictions or its pictures are not found, or the folder is not empty.
    """
    _check(parsed)
    with importing():
        from peftcorr.console.progress import Progress
        from peftcorr.engine.workbench import Workbench
        from peftcorr.files import whole_folder
        from peftcorr.model.album import Album
        from peftcorr.model.find import find_run
        from peftcorr.model.load import load
        from peftcorr.model.pictures import pictures
        from peftcorr.report.match_page import page

    folder: Path = parsed.folder
    runs = [find_run(run, parsed.output) for run in (parsed.run_id, parsed.against) if run is not None]
    records = [record for record, _ in runs]
    facts, alpha, matches, (dataset, split) = _looked_up(parsed, runs)
    chosen = _chosen(parsed, records, matches)
    terminal = Console()
    progress = Progress(terminal)
    bench = Workbench(
        options.data_roots(parsed.data_root), parsed.weights, parsed.output, options.cache_folder(), progress
    )
    needs_model = parsed.heatmap or parsed.overview
    album = Album(
        tuple(record.run_id for record in records),
        tuple(matches),
        pictures(records[0], dataset, split, bench),
        tuple(
            load(record.run_id, weights=parsed.weights, output=store.root)
            for record, store in (runs if needs_model else ())
        ),
        alpha,
        f"{dataset}/{split}",
    )
    with whole_folder(folder.absolute()) as temporary:
        with progress.track("draw", sum(len(one.pairs) for one in chosen), "pairs") as bar:
            parts = album.draw(chosen, temporary, bar.advance, parsed.heatmap)
        if parsed.overview:
            pair = chosen[0].pairs[0] if parsed.pair else matches[0].best()
            (temporary / _OVERVIEW).write_bytes(album.overview(dict(facts)["predictor"], pair))
        title = f"Matches of {' and '.join(album.names)}"
        document = page(title, facts, parts, _OVERVIEW if parsed.overview else None)
        (temporary / "index.html").write_text(document, encoding="utf-8", newline="\n")
    print_whole(terminal, str(folder / "index.html"))
    return 0


def _check(parsed: argparse.Namespace) -> None:
    """Refuse what could only fail later."""
    if parsed.worst is not None and parsed.worst < 1:
        raise PeftCorrError(f"--worst must be at least 1, not {parsed.worst}.")
    if parsed.pair and parsed.category is not None:
        raise PeftCorrError("--pair names pairs: leave out --category, or leave out --pair.")
    folder: Path = parsed.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PeftCorrError(f"{folder} is there already: give a new or empty folder.")


def _looked_up(
    parsed: argparse.Namespace, runs: Sequence[tuple[Record, Store]]
) -> tuple[list[tuple[str, str]], float, list[Matches], tuple[str, str]]:
    """What is said of it all, the threshold, the matches of each run, and the dataset and split that they are of."""
    from peftcorr.metrics.aggregate import alpha_key, score_predictions
    from peftcorr.metrics.compare import aligned
    from peftcorr.metrics.presets import preset_named
    from peftcorr.report.configuration import description
    from peftcorr.report.leaderboard import ranking_alpha
    from peftcorr.report.matches import Matches
    from peftcorr.results.protocol import agreed_preset

    records = [record for record, _ in runs]
    first, *others = records
    names = (first.run_id, others[0].run_id if others else "")
    if parsed.preset is not None:
        preset = preset_named(parsed.preset)
    else:
        preset = agreed_preset((first, others[0] if others else None), names)
    told = next((scores.per_keypoint for by in first.scores.values() for scores in by.values()), {})
    alpha = parsed.alpha if parsed.alpha is not None else float(ranking_alpha(sorted(told, key=float)))
    rows = [_rows(parsed, *runs[0], None)]
    (dataset, split, _), table = rows[0]
    tables = [table]
    if others:
        rows.append(_rows(parsed, *runs[1], dataset))
        tables = list(aligned(f"{dataset}/{split}", names, table, rows[1][1]))
    for table in tables:
        score_predictions(table, [alpha], preset)  # says what is wrong with it
    facts = [(record.run_id, description(record)) for record in records]
    facts += [
        ("scored on", f"{dataset}/{split}"),
        ("predictor", " and ".join(dict.fromkeys(predictor for (_, _, predictor), _ in rows))),
        ("right", f"within {alpha_key(alpha)} of the reference length s ({preset.name})"),
    ]
    return facts, alpha, [Matches(dataset, table, alpha, preset) for table in tables], (dataset, split)


def _rows(
    parsed: argparse.Namespace, record: Record, store: Store, dataset: str | None
) -> tuple[tuple[str, str, str], pa.Table]:
    """The predictions of one predictor on one split, and what these are called."""
    from peftcorr.metrics.rows import groups
    from peftcorr.results.runs import checked_predictions

    path = store.predictions_path(record.run_id)
    if not path.is_file():
        raise PeftCorrError(
            f"The predictions {path} are not here: a record alone has none, run it again with --overwrite always."
        )
    found = dict(groups(checked_predictions(path)))
    datasets, predictors = (dict.fromkeys(key[place] for key in found) for place in (0, 2))
    asked = dataset or parsed.dataset or next(iter(datasets))
    if asked not in datasets:
        raise PeftCorrError(
            f"The run {record.run_id} was not scored on {shown(asked)}.{did_you_mean(asked, datasets)}"
        )
    own = {key: rows for key, rows in found.items() if key[0] == asked}
    predictor = parsed.predictor or next(iter(own))[2]
    chosen = [(key, rows) for key, rows in own.items() if key[2] == predictor]
    if not chosen:
        raise PeftCorrError(
            f"The run {record.run_id} has no predictor {shown(predictor)}.{did_you_mean(predictor, predictors)}"
        )
    return chosen[0]


def _chosen(
    parsed: argparse.Namespace, records: Sequence[Record], matches: Sequence[Matches]
) -> list[Chosen]:
    """Which pairs are drawn, under which headings."""
    from peftcorr.model.album import Chosen

    first, *others = matches
    most = parsed.worst or _WORST
    if parsed.pair:
        return [Chosen("Pairs", "As they were asked for.", tuple(first.named(parsed.pair)))]
    of = "" if parsed.category is None else f" of the category {parsed.category}"
    if not others:
        found = first.worst(parsed.category)
        number = f"{min(most, len(found))} of {len(found):,}"
        sentence = f"The pairs{of} with the smallest share of right keypoints, {number}."
        return [Chosen("Worst first", sentence, tuple(found[:most]))]
    above, below = (record.run_id for record in records)
    parts = []
    for one, other, pairs in (
        (above, below, first.ahead(others[0], parsed.category)),
        (below, above, others[0].ahead(first, parsed.category)),
    ):
        sentence = (
            f"Pairs{of} of which {one} has more keypoints right, {min(most, len(pairs))} of {len(pairs):,}, those with "
            f"the largest difference first. Each has the keypoints on which the two differ; {above} is above."
        )
        parts.append(Chosen(f"{one} is right, {other} is not", sentence, tuple(pairs[:most])))
    return parts
