"""The demo: a point of one picture, and where one or two models find it in another, in a browser on this machine."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peftcorr.data.base import PairDataset
from peftcorr.data.given import Picture, picture
from peftcorr.errors import PeftCorrError, reason, shown, told
from peftcorr.model.demo_page import CLICKED, CSS, LOADED, Drawing, Found, Point, place, status
from peftcorr.model.matching import Model

try:
    import gradio as gr
except ImportError as error:
    raise PeftCorrError(
        f"The demo needs the package gradio ({reason(error)}): pip install 'peftcorr[demo]'."
    ) from error

HOST = "127.0.0.1"
_OFFERED = 200  # pairs of a dataset, evenly spaced
_LARGEST = "200mb"  # a picture that is uploaded
_HEADING = """<h1>Points matched between two pictures</h1>
<p>Click a point of the source picture, or give it as numbers: each model shows where it finds it in the target.</p>"""
_FONTS = ["system-ui", "sans-serif"]  # of the reader's machine: nothing is fetched


@dataclass(frozen=True)
class Chosen:
    """The two pictures of a visitor.

    Attributes:
        source: where points are given.
        target: where they are looked for.
        category: of the object, where the pair of a dataset says so.
    """

    source: Picture | None = None
    target: Picture | None = None
    category: str = ""


class Demo:
    """What the page does, without the page.

    Args:
        models: by the names that they are chosen by.
        pairs: a dataset whose pictures may be chosen.
    """

    def __init__(self, models: Mapping[str, Model], pairs: PairDataset | None = None):
        self.models, self._drawing = dict(models), Drawing()
        self._pairs = pairs if pairs is None else pairs.limited(_OFFERED)

    @property
    def needs_category(self) -> bool:
        """Whether a model is told what is on the pictures."""
        return any(model.backbone.uses_categories for model in self.models.values())

    def choices(self) -> list[tuple[str, int]]:
        """Pairs of the dataset: what each is called, and its number."""
        if self._pairs is None:
            return []
        table = self._pairs.table
        columns = (table[name] for name in ("category", "source_image", "target_image"))
        named = (
            f"{number + 1}: {category}, {Path(source).stem} to {Path(target).stem}"
            for number, (category, source, target) in enumerate(zip(*columns, strict=True))
        )
        return [(name, number) for number, name in enumerate(named)]

    def pair(self, number: int) -> Chosen:
        """The pictures of one pair of the dataset.

        Raises:
            PeftCorrError: if one cannot be decoded.
        """
        assert self._pairs is not None
        row, root = self._pairs.table[number], self._pairs.image_root
        source, target = (picture(root / row[side]) for side in ("source_image", "target_image"))
        return Chosen(source, target, row["category"])

    def views(self, chosen: Chosen, point: Point | None = None) -> tuple[str, str]:
        """Both pictures as HTML."""
        return (
            self._drawing.picture(chosen.source, "Source picture", point),
            self._drawing.picture(chosen.target, "Target picture"),
        )

    def match(self, chosen: Chosen, point: Point, names: Sequence[str], category: str) -> tuple[str, ...]:
        """What each named model finds, as HTML.

        Raises:
            PeftCorrError: if a picture or the category is missing, or the point is not on its picture.
        """
        source, target = chosen.source, chosen.target
        if source is None or target is None:
            raise PeftCorrError(f"Choose the {'source' if source is None else 'target'} picture first.")
        return tuple(
            self._drawing.found(name, target, self._found(self.models[name], source, target, point, category))
            for name in names
        )

    @staticmethod
    def _found(model: Model, source: Picture, target: Picture, point: Point, category: str) -> Found:
        named = category or None
        begun = time.perf_counter()
        points, similarity = model.match(source.pixels, target.pixels, [point], category=named)
        seconds = time.perf_counter() - begun
        heat = model.heatmap(source.pixels, target.pixels, point, category=named)
        x, y = points[0].tolist()
        return Found((x, y), float(similarity[0]), heat, seconds)


def page(demo: Demo) -> gr.Blocks:
    """The page of a demo; each visitor has pictures of their own."""
    names = list(demo.models)
    with gr.Blocks(title="peftcorr demo", analytics_enabled=False) as blocks:
        gr.HTML(_HEADING)
        choices = demo.choices()
        first, said = Chosen(), ""
        if choices:
            first, said = _first(demo)
        chosen = gr.State(first)
        views = demo.views(first)
        if choices:
            label = f"Pair of the dataset ({len(choices)} of them)"
            pair = gr.Dropdown(choices, value=0, label=label, elem_id="pair")
        with gr.Row():
            uploads, pictures = [], []
            for side, view in zip(("source", "target"), views, strict=True):
                with gr.Column(min_width=280):
                    uploads.append(
                        gr.UploadButton(
                            f"Choose the {side} picture", file_types=["image"], elem_id=f"choose-{side}"
                        )
                    )
                    clicked = CLICKED if side == "source" else None
                    pictures.append(gr.HTML(view, elem_id=side, js_on_load=clicked))
        with gr.Row():
            x = gr.Number(label="x of the point, in pixels", elem_id="x", min_width=120)
            y = gr.Number(label="y of the point, in pixels", elem_id="y", min_width=120)
            category = gr.Textbox(
                first.category,
                label="What is on the pictures",
                elem_id="category",
                visible=demo.needs_category,
            )
            button = gr.Button("Match", variant="primary", elem_id="match")
        line = gr.HTML(status(said), elem_id="status")
        with gr.Row():
            models, found = [], []
            for side, number in (("left", 0), ("right", 1))[: len(names)]:
                with gr.Column(min_width=280):
                    models.append(
                        gr.Dropdown(
                            names, value=names[number], label=f"Model on the {side}", elem_id=f"model-{side}"
                        )
                    )
                    found.append(gr.HTML(elem_id=f"found-{side}"))

        nothing = [""] * len(found)

        def matched(
            chosen: Chosen, x: float | None, y: float | None, category: str, *names: str
        ) -> list[str]:
            if x is None or y is None:
                return [status("Give x and y of the point."), demo.views(chosen)[0], *nothing]
            try:
                outcome = demo.match(chosen, (x, y), names, category)
            except Exception as error:  # a visitor reads it, and goes on
                return [status(told(error)), demo.views(chosen)[0], *nothing]
            return [status(f"Matched {place((x, y))}."), demo.views(chosen, (x, y))[0], *outcome]

        def at(event: gr.EventData) -> tuple[float, float]:
            return round(event.x, 1), round(event.y, 1)

        def own(side: str) -> Callable[..., list[Any]]:
            def taken(path: str, chosen: Chosen) -> list[Any]:
                try:
                    sent = _uploaded(path)
                    chosen = (
                        replace(chosen, source=sent) if side == "source" else replace(chosen, target=sent)
                    )
                    said = ""
                except Exception as error:
                    said = told(error)
                return [chosen, *demo.views(chosen), None, None, status(said), *nothing]

            return taken

        def paired(number: int) -> list[Any]:
            try:
                chosen, said = demo.pair(number), ""
            except Exception as error:
                chosen, said = Chosen(), told(error)
            return [chosen, *demo.views(chosen), None, None, status(said), *nothing, chosen.category]

        asked = [chosen, x, y, category, *models]
        answered = [line, pictures[0], *found]
        begun = [chosen, *pictures, x, y, line, *found]
        pictures[0].click(at, None, [x, y], show_progress="hidden").then(matched, asked, answered)
        for event in (button.click, x.submit, y.submit):
            event(matched, asked, answered)
        for model in models:
            model.input(matched, asked, answered)
        for side, upload in zip(("source", "target"), uploads, strict=True):
            upload.upload(own(side), [upload, chosen], begun)
        if choices:
            pair.input(paired, [pair], [*begun, category])
    return blocks


def _first(demo: Demo) -> tuple[Chosen, str]:
    """The first pair of the dataset, or why it cannot be shown."""
    try:
        return demo.pair(0), ""
    except PeftCorrError as error:
        return Chosen(), str(error)


def _uploaded(path: str) -> Picture:
    """A picture that a visitor sent.

    Raises:
        PeftCorrError: if it is none; its name is the visitor's own.
    """
    try:
        return picture(path)
    except PeftCorrError as error:
        raise PeftCorrError(str(error).replace(path, Path(path).name)) from error


@contextmanager
def served(blocks: gr.Blocks, port: int) -> Iterator[str]:
    """Serve a page on this machine alone while the block runs; gives its address.

    What visitors send is kept in a folder that goes when the block ends.

    Raises:
        PeftCorrError: if the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="peftcorr-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            _, address, _ = blocks.launch(
                server_name=HOST, server_port=port, share=False, quiet=True, inbrowser=False, ssr_mode=False,
                prevent_thread_lock=True, enable_monitoring=False, max_file_size=_LARGEST, footer_links=[],
                theme=gr.themes.Base(font=_FONTS, font_mono=["monospace"]), css=CSS, js=LOADED,
            )  # fmt: skip
        except OSError as error:
            raise PeftCorrError(f"Port {shown(port)} is taken: give another with --port.") from error
        try:
            yield address
        finally:
            blocks.close(verbose=False)
