"""``peftcorr demo``: click a point of one picture, and see where models find it in another."""

from __future__ import annotations

import argparse
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from peftcorr.commands import options
from peftcorr.console.table import print_line
from peftcorr.errors import PeftCorrError
from peftcorr.machine.startup import importing

if TYPE_CHECKING:
    from peftcorr.data.base import PairDataset
    from peftcorr.model.matching import Model

SUMMARY = "Click a point of one picture in a browser, and see where one or two models find it in another."

EXAMPLES = """examples:
  the embedded backbone on the embedded benchmark:
    peftcorr demo
  a run beside the backbone that it was trained from:
    peftcorr demo 3f2a
  two runs, on pictures of a dataset:
    peftcorr demo 3f2a 91bc --dataset spair71k --data-root PATH
  a published backbone beside another:
    peftcorr demo --backbone dinov2_vits14 dinov2_vitb14
"""
PORT = 7860


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="run id or its beginning, or user/name on the hub"
    )
    parser.add_argument(
        "--backbone", metavar="NAME", **options.MANY, help="backbones as they come, after the runs"
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="whose test pairs may be chosen (default: the embedded benchmark)"
    )
    options.add_data_root(parser)
    options.add_weights(parser)
    options.add_output(parser)
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"of the page on this machine (default: {PORT})"
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry out the subcommand: serve the page until Ctrl-C.

    Raises:
        PeftCorrError: if gradio is missing, the port is taken, or a run, a backbone or the dataset cannot be loaded.
    """
    if find_spec("gradio") is None:
        raise PeftCorrError("The demo needs the package gradio: pip install 'peftcorr[demo]'.")
    require_free(parsed.port)
    with importing():
        from peftcorr.model.demo import Demo, page, served

    demo = Demo(_models(parsed), _pairs(parsed))
    with served(page(demo), parsed.port) as address:
        print_line(Console(), f"Demo: {address} (on this machine alone; Ctrl-C ends it)")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def require_free(port: int) -> None:
    """Refuse a port that cannot be listened at, before anything is loaded.

    Raises:
        PeftCorrError: if it is taken, not this user's to take, or no port.
    """
    if not 0 < port < 1 << 16:
        raise PeftCorrError(f"--port {port} is no port: give a number from 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise PeftCorrError(f"Port {port} needs an administrator: give another with --port.") from error
        except OSError as error:
            raise PeftCorrError(f"Port {port} is taken: give another with --port.") from error


def _models(parsed: argparse.Namespace) -> dict[str, Model]:
    """What is compared, by name: the runs, the backbones, and where that is one run alone, what it was trained from."""
    from peftcorr.model.load import load

    found: dict[str, Model] = {}
    for given in parsed.runs:
        model = load(given, weights=parsed.weights, output=parsed.output)
        record = model.record
        assert record is not None
        title = f"{record.strategy} on {record.backbone}, seed {record.seed}"
        found[f"{title} ({record.run_id[:8]})"] = model
    backbones: Sequence[str] = parsed.backbone or ([] if parsed.runs else ["tiny"])
    for name in backbones:
        found[f"{name}, as it comes"] = load(backbone=name, weights=parsed.weights, output=parsed.output)
    if len(found) == 1 and parsed.runs:
        [model] = found.values()
        if model.strategy.trains():
            recipe = model.recipe
            found[f"{recipe.backbone['name']}, as it comes"] = load(
                backbone=recipe.backbone, weights=parsed.weights, predictor=recipe.predictors[0], output=parsed.output
            )  # fmt: skip
    return found


def _pairs(parsed: argparse.Namespace) -> PairDataset:
    """The test pairs whose pictures are offered."""
    from peftcorr.config import complete
    from peftcorr.console.progress import Progress
    from peftcorr.data import DATASETS
    from peftcorr.engine.workbench import Workbench

    bench = Workbench(
        options.data_roots(parsed.data_root), parsed.weights, Path(parsed.output), options.cache_folder(),
        Progress(Console()),
    )  # fmt: skip
    source = bench.source(complete(DATASETS, parsed.dataset or "synthetic"))
    source.require_split("test")
    return bench.opened(source, "test")
