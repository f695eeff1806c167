"""The model card: valid metadata, numbers of the record, and text of others that stays text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from peftcorr.model.card import card, preprocessing
from peftcorr.report.pipes import escaped
from peftcorr.results.record import Record
from peftcorr.results.store import read_record
from tests.hostile import HOSTILE, assert_calm

LORA = Path(__file__).parents[2] / "leaderboard" / "records" / "05c4b032c1519365.json"


@pytest.fixture
def record() -> Record:
    return read_record(LORA)


def metadata(text: str) -> dict[str, Any]:
    begin, front, _ = text.split("---\n", 2)
    assert begin == ""
    found: dict[str, Any] = yaml.safe_load(front)
    return found


def test_what_the_hub_reads(record: Record) -> None:
    found = metadata(card(record, "user/name", peft=True))
    assert (found["license"], found["library_name"]) == ("apache-2.0", "peftcorr")
    assert set(found["tags"]) >= {"semantic-correspondence", "lora", "tiny"}
    assert "base_model" not in found, "its weights are in the package, not on the hub"
    [model] = found["model-index"]
    values = {metric["name"]: metric["value"] for result in model["results"] for metric in result["metrics"]}
    scores = record.scores["synthetic/test"]["argmax"]
    assert values["PCK@0.1 per keypoint, argmax"] == round(scores.per_keypoint["0.1"], 2)
    assert len(values) == 6


def test_weights_of_the_hub_are_named(record: Record) -> None:
    from_hub = record.model_copy(update={"weights_id": "facebook/dinov2-small"})
    found = metadata(card(from_hub, "user/name", peft=True))
    assert (found["base_model"], found["base_model_relation"]) == ("facebook/dinov2-small", "adapter")
    own = record.model_copy(update={"official_weights": False, "weights_id": "mine"})
    text = card(own, "user/name", peft=True)
    assert "license" not in metadata(text), "nobody said what they come under"
    assert "trained from the weights mine, which `load` has to be given" in text


def test_what_people_read(record: Record) -> None:
    text = card(record, "user/name", peft=True)
    scores = record.scores["synthetic/test"]["argmax"]
    assert scores.intervals is not None
    low, high = scores.intervals["per_keypoint"]["0.1"]
    assert f"{scores.per_keypoint['0.1']:.2f} [{low:.1f}, {high:.1f}]" in text
    assert 'model = peftcorr.load("user/name")' in text
    assert f'"user/name", subfolder="adapters/{record.run_id}")' in text
    assert "| Weights of tiny | Apache-2.0 |" in text
    assert "| Data: synthetic | Apache-2.0: rendered by peftcorr |" in text
    assert "from peft import" not in card(record, "user/name", peft=False)


def test_the_lines_of_code_can_be_run(record: Record) -> None:
    blocks = re.findall(r"```python\n(.*?)```", card(record, "user/name", peft=True), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "card", "exec")
    assert len([line for line in blocks[0].splitlines() if line]) == 5


def test_text_of_others_stays_text(record: Record) -> None:
    where = f"{HOSTILE}/test"
    hostile = record.model_copy(
        update={
            "strategy": HOSTILE,
            "dataset": HOSTILE,
            "weights_id": HOSTILE,
            "ingredients": {f"plugin strategy {HOSTILE}": ""},
            "official_weights": False,
            "scores": {where: {HOSTILE: record.scores["synthetic/test"]["argmax"]}},
        }
    )
    text = card(hostile, "user/name", peft=True)
    assert_calm(text)
    body = text.split("---\n", 2)[2]
    from markdown_it import MarkdownIt

    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    for tag in ("<script", "<img", "<a href", "<strong", "<h1>head"):
        assert tag not in page
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert all(row.endswith(" |") for row in rows)


def test_what_is_done_to_an_image(record: Record) -> None:
    found = preprocessing(record)
    assert (found["image_size"], found["resize"], found["stride"]) == ([112, 112], "stretch", 8)
    assert (found["mean"], found["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("convention", "dataset", "own", "resize"),
    [
        ("peftcorr", "synthetic", "pad", "pad"),
        ("geoaware", "synthetic", "stretch", "centre_lanczos"),
        ("marco", "synthetic", "stretch", "stretch_bilinear"),
        ("marco", "pf_pascal", "stretch", "pad_bilinear"),
    ],
)
def test_a_convention_says_how_images_become_square(
    record: Record, convention: str, dataset: str, own: str, resize: str
) -> None:
    """Not the backbone's option; the card and the file beside it say the same."""
    recipe = {
        **record.recipe,
        "backbone": {**record.recipe["backbone"], "resize": own},
        "convention": convention,
    }
    changed = record.model_copy(update={"recipe": recipe, "dataset": dataset})
    assert f"| Image | 112 x 112 pixels, {escaped(resize)} |" in card(changed, "user/name", peft=False)
    assert preprocessing(changed)["resize"] == resize
