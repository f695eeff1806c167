"""Text of others stays text wherever it is shown."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from peftcorr.cli import main
from peftcorr.console.progress import Progress
from peftcorr.console.table import print_table
from peftcorr.errors import PeftCorrError
from peftcorr.files import sealed
from peftcorr.predictions import PREDICTION_SCHEMA, write_predictions
from peftcorr.report.compile import compile_leaderboard
from peftcorr.report.configuration import configurations_of
from peftcorr.report.file_names import file_name
from peftcorr.report.summary import print_summary
from peftcorr.results.identity import run_id
from peftcorr.results.store import Store, read_record
from tests.commands.test_score import rows
from tests.hostile import HOSTILE, ID, PREFIXED, assert_calm, refused
from tests.report.conftest import _record, _scores


def hostile_everywhere(value: Any) -> Any:
    """A document with hostile text in place of every text, and no key changed."""
    if isinstance(value, dict):
        return {key: hostile_everywhere(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile_everywhere(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def hostile(schema: int, status: str = "ok", backbone: str = HOSTILE) -> dict[str, Any]:
    """A record whose every free text is hostile."""
    document: dict[str, Any] = json.loads(_record(ID).model_dump_json())
    document.update(hostile_everywhere({key: document[key] for key in ("recipe", "environment", "protocol")}))
    document["recipe"] |= {
        HOSTILE: HOSTILE,
        "strategy": {"name": HOSTILE, "tuner": PREFIXED, HOSTILE: [HOSTILE]},
    }
    document["recipe"]["backbone"] |= {"image_size": 128}
    document["protocol"] |= {"frame": {"kind": "original"}, "comparator": "<=", "reports": ["per_image"]}
    document["environment"]["packages"] = {HOSTILE: HOSTILE}
    scores = {**_scores(50.0, 90), "per_category": {HOSTILE: _scores(50.0, 90)["per_category"]["cat"]}}
    document |= {
        "schema_version": schema,
        "status": status,
        "error": HOSTILE,
        "strategy": HOSTILE,
        "backbone": backbone,
        "weights_id": HOSTILE,
        "weights_sha256": HOSTILE,
        "weights_commit": HOSTILE,
        "official_weights": False,
        "dataset": HOSTILE,
        "scores": {f"{HOSTILE}/{HOSTILE}": {HOSTILE: scores, PREFIXED: scores}},
        "leakage": {
            HOSTILE: {
                "trained_images": 1,
                "tested_images": 1,
                "identical": 1,
                "near": 0,
                "examples": [[HOSTILE] * 2],
            }
        },
    }
    document.pop("ingredients", None)
    if schema == 2:
        document["ingredients"] = {HOSTILE: HOSTILE}
        document["run_id"] = run_id(document["recipe"], document["ingredients"])
    return document


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "records" / f"{document['run_id']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sealed(document) if document["schema_version"] == 2 else document))
    return path


def assert_plain_page(page: str) -> None:
    """Rendered, a page has no link, picture or element that its author did not mean."""
    assert_calm(page)
    html = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(page)
    found = Elements()
    found.feed(html)
    addresses = [value for name, value in found.attributes if name in ("href", "src")]
    assert addresses
    assert [one for one in addresses if not re.fullmatch(r"((records|figures)/)?[\w.-]*", one or "")] == []
    assert {name for name, _ in found.attributes} <= {"href", "src", "alt", "style"}
    assert found.names <= {"h1", "h2", "h3", "h4", "p", "table", "thead", "tbody", "tr", "th", "td", "a", "img",
                           "strong", "em", "code", "ul", "li"}  # fmt: skip
    assert "red\\x1b]0;title\\x07 [bold]x[/bold] ](javascript" in html, "it is there, as text"


class Elements(HTMLParser):
    """Names and attributes of the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs


def assert_plain_svg(content: bytes) -> None:
    root = ElementTree.fromstring(content)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names <= {"svg", "metadata", "defs", "style", "g", "path", "rect", "text", "tspan", "use", "clipPath", "RDF",
                     "Work", "creator", "Agent", "title", "type", "format", "date"}  # fmt: skip
    assert not [key for element in root.iter() for key in element.attrib if key.lower().startswith("on")]
    assert_calm("".join(root.itertext()))


@pytest.mark.parametrize("schema", [1, 2])
def test_a_hostile_record_is_text_on_every_page(tmp_path: Path, schema: int) -> None:
    root = tmp_path / "deep" / "in" / "leaderboard"
    document = hostile(schema)
    write(root, document)
    write(root, hostile(1, "failed") | {"run_id": "f" * 16})
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(root)}

    page = compile_leaderboard(root).read_text(encoding="utf-8")

    assert_plain_page(page)
    for line in page.splitlines():
        if line.startswith("| ★"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 9, "a bar of a name opens no cell"
    figures = list((root / "figures").iterdir())
    assert len(figures) == len(re.findall(r"\]\(figures/", page))
    for figure in figures:
        assert_plain_svg(figure.read_bytes())
    stream = io.StringIO()
    for terminal in (False, True):
        where = Console(file=stream, force_terminal=terminal, color_system=None, width=100)
        print_summary(root, where, [document["run_id"], "f" * 16])
    assert_calm(stream.getvalue())
    assert "Failed: " in stream.getvalue()
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(root)} == before


def test_mathematics_in_a_name_is_drawn_as_it_is_written(tmp_path: Path) -> None:
    for number, name in enumerate(("$x_1^2$", "$\\frac{1}{", "_hidden")):
        record = _record(
            f"run-{number}", options={"kind": name}, strategy=name, backbone=f"b{name}", pck=50 + number
        )
        Store(tmp_path).write(record)
    compile_leaderboard(tmp_path)
    [figure] = (tmp_path / "figures").iterdir()
    said = [element.text for element in ElementTree.fromstring(figure.read_bytes()).iter() if element.text]
    assert "$x_1^2$" in said
    assert "$\\frac{1}{" in said
    assert [text for text in said if text.strip() == "_hidden"], (
        "a legend drops what begins with an underscore"
    )


def test_hostile_predictions_are_text_in_a_breakdown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = [
        row
        | {
            "dataset": HOSTILE,
            "split": split,
            "predictor": PREFIXED,
            "category": HOSTILE,
            "keypoint_id": HOSTILE,
        }
        for split in (HOSTILE, f"{HOSTILE}!")
        for row in rows()
        if row["predictor"] == "argmax"
    ]
    root = tmp_path / "out"
    path = root / "predictions" / "x](javascript:y) <img>$a$.parquet"
    write_predictions(pa.Table.from_pylist(table, schema=PREDICTION_SCHEMA), path)
    assert main(["breakdown", str(path), "--output", str(root)]) == 0
    captured = capsys.readouterr()
    assert_calm(captured.out + captured.err)
    [page] = root.glob("breakdowns/*.md")
    assert page.name == "x-javascript-y-img-a.md"
    assert_plain_page(page.read_text(encoding="utf-8"))
    figures = list(root.glob("breakdowns/*.svg"))
    assert len(figures) == 2, "two splits of similar names have a figure each"
    for figure in figures:
        assert_plain_svg(figure.read_bytes())
    assert main(["score", str(path)]) == 0
    assert_calm(capsys.readouterr().out)


def test_names_of_files_are_names() -> None:
    assert file_name("../../a b", ".svg") == "a-b.svg"
    assert file_name("a/B", ".svg", ["a-b.svg", "a-b-2.svg"]) == "a-b-2-2.svg"
    long = [file_name("x" * 5000 + end, ".svg") for end in "ab"]
    assert len(set(long)) == 2
    assert max(map(len, long)) < 200


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "../../outside"},
        {"run_id": "a](b"},
        {"run_id": "a" * 5000},
        {"schema_version": 2, "files": {"../../outside": "0"}},
        {"schema_version": 2, "files": {"/etc/passwd": "0"}},
        {"trainable_parameters": -1},
        {"trainable_parameters": 10**4000},
        {"cost": {"train_seconds": float("nan"), "eval_seconds": 1, "peak_memory_bytes": 1, "encoder_forwards": 1,
                  "steps": 1}},
        {"learning_rate": float("inf")},
        *({"scores": {"a/b": {"c": {**_scores(50.0, 9), "per_keypoint": {key: 1.0}}}}}
          for key in (".", "..", "1.2.3", "e5", "1" * 5000)),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    document = json.loads(_record(ID).model_dump_json()) | change
    path = write(tmp_path, document | {"run_id": ID})
    path.write_text(json.dumps(sealed(document) if document["schema_version"] == 2 else document))
    with pytest.raises(PeftCorrError, match="is no valid record") as caught:
        compile_leaderboard(tmp_path)
    assert len(str(caught.value)) < 1000
    assert_calm(str(caught.value))


def test_a_deep_recipe_in_a_record(tmp_path: Path) -> None:
    document = json.loads(_record(ID).model_dump_json())
    deep: Any = 1
    for _ in range(900):
        deep = {"a": deep}
    document["recipe"]["training"] = deep
    with pytest.raises(PeftCorrError, match="nested too deeply"):
        read_record(write(tmp_path, document))


@pytest.mark.parametrize(
    "command",
    [
        ("score", "{}"), ("score", "{}.parquet"), ("breakdown", "{}"), ("breakdown", "{}.parquet"),
        ("compare", "{}", "{}"),
        ("ls", "{}"), ("ls", "lora+{}"), ("validate", "{}"), ("validate", "a/{}.yaml"), ("data", "check", "{}"),
        ("data", "prepare", "{}"), ("compile", "{}"), ("verify", "{}"), ("cache", "clear", "{}"),
        ("export", "{}", "{}"), ("ls", "--plugin", "{}.py"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["x" * 5000, "\x1b[31mx\x07\u202e"], ids=["long", "escapes"])
def test_a_name_is_quoted_briefly(
    tmp_path: Path,
    command: tuple[str, ...],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    refused(capsys, *(word.format(name) for word in command))


def test_a_wrong_option_is_quoted_briefly(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["\x1b" * 5000],
        ["score", "a", "--\x1b[31m" + "x" * 5000],
        ["score", "a", "--alphas", "\x07" * 5000],
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        error = capsys.readouterr().err
        assert len(error) < 8000
        assert_calm(error)


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_shows_names_as_text(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr("peftcorr.console.progress._SHOW_AFTER", 0.0)
    monkeypatch.setattr("peftcorr.console.progress._LINE_EVERY", 0.0)
    stream = io.StringIO()
    where = Console(file=stream, force_terminal=terminal, width=200, color_system=None)
    with Progress(where).track("\x1b]0;title\x07[bold]name[/bold]", 1, "\x07steps") as bar:
        bar.advance(1, "\x1b]0;note\x07[red]")
    assert "[bold]name[/bold]" in stream.getvalue()
    assert "[red]" in stream.getvalue()
    assert "\x07" not in stream.getvalue()
    assert "\x1b]" not in stream.getvalue()


@pytest.mark.parametrize("make", [lambda text: PeftCorrError(text), lambda text: OSError(2, text, text)])
def test_a_sentence_has_no_effect_on_a_terminal(
    make: Callable[[str], Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(parsed: object) -> int:
        raise make(HOSTILE)

    monkeypatch.setattr("peftcorr.commands.validate.run", fail)
    assert "\\x1b[31mred" in refused(capsys, "validate", "any")


def test_a_sentence_keeps_its_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(parsed: object) -> int:
        raise PeftCorrError(f"Cannot write {'x' * 5000}: choose another --output.")

    monkeypatch.setattr("peftcorr.commands.validate.run", fail)
    assert refused(capsys, "validate", "any").endswith("choose another --output.")


def test_a_table_shows_names_as_text() -> None:
    stream = io.StringIO()
    where = Console(file=stream, width=80, color_system=None)
    print_table(where, [HOSTILE, HOSTILE], [[HOSTILE, HOSTILE]], title=HOSTILE, caption=HOSTILE)
    assert_calm(stream.getvalue())


def test_scores_that_are_no_numbers_agree_with_none() -> None:
    records = [_record(f"run-{n}", options={"asked": 1}) for n in range(2)]
    for record in records:
        record.scores["synthetic/test"]["argmax"].per_keypoint["0.1"] = math.nan
    assert len(configurations_of(records)) == 2
    assert len(configurations_of([_record(f"run-{n}", options={"asked": 1}) for n in range(2)])) == 1
