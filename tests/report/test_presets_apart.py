"""Runs that were scored by different definitions, or matched by different conventions, never share a table."""

from __future__ import annotations

from typing import Any

from peftcorr.metrics.presets import PRESETS
from peftcorr.report.compile import compile_leaderboard
from peftcorr.report.leaderboard import build_leaderboard
from peftcorr.results.record import Record
from peftcorr.results.store import Store


def by(preset: str) -> dict[str, Any]:
    return {"recipe": {"preset": preset}, "protocol": PRESETS[preset]}


def test_each_preset_has_sections_of_its_own(make_record: Any) -> None:
    sections = build_leaderboard(
        [
            make_record("a", pck=60.0),
            make_record("b", "adapter", pck=70.0, trainable=2000, **by("sd4match")),
            make_record("c", "adapter", pck=65.0, trainable=2000),
            make_record("d", pck=50.0, **by("geoaware")),
        ]
    ).sections
    assert [(section.title, [row.label for row in section.boards[0].rows]) for section in sections] == [
        ("synthetic/test", ["adapter", "lora"]),
        ("synthetic/test, preset geoaware", ["lora"]),
        ("synthetic/test, preset sd4match", ["adapter"]),
    ]
    assert [row.run_ids for row in sections[0].boards[0].rows] == [("c",), ("a",)]
    assert not any(section.subset for section in sections)


def test_each_convention_has_sections_of_its_own(make_record: Any) -> None:
    def fed(size: int) -> dict[str, Any]:
        return {
            "recipe": {"convention": "sd4match", "preset": "sd4match"},
            "protocol": PRESETS["sd4match"].as_fed(size, 1e-4),
        }

    leaderboard = build_leaderboard(
        [
            make_record("a", pck=60.0),
            make_record("b", pck=61.0, **by("sd4match")),
            make_record("c", pck=62.0, **fed(224)),
            make_record("d", pck=63.0, **fed(448)),
            make_record(
                "e",
                pck=64.0,
                recipe={"convention": "sd_dino", "preset": "geoaware"},
                protocol=PRESETS["geoaware"],
            ),
            make_record("f", pck=65.0, **by("geoaware")),
            make_record("g", pck=66.0, recipe={"convention": "of a later version"}),
        ]
    )
    titles = [
        section.title.removeprefix("synthetic/test").removeprefix(", ") for section in leaderboard.sections
    ]
    assert titles == [
        "",
        "convention of a later version",
        "convention sd4match at 224 px",
        "convention sd4match at 448 px",
        "convention sd_dino",
        "preset geoaware",
        "preset sd4match",
    ]
    assert all(len(section.boards[0].rows) == 1 for section in leaderboard.sections)


def test_another_content_under_the_same_name_is_another_definition(make_record: Any) -> None:
    own = PRESETS["sd4match"].model_copy(update={"comparator": "<"})
    changed = PRESETS["peftcorr"].model_copy(update={"comparator": "<"})
    sections = build_leaderboard(
        [
            make_record("a", pck=60.0),
            make_record("b", pck=61.0, **by("sd4match")),
            make_record("c", pck=62.0, recipe={"preset": "sd4match"}, protocol=own),
            make_record("d", pck=63.0, protocol=changed),
        ]
    ).sections
    titles = [section.title for section in sections]
    assert len(set(titles)) == 4
    assert titles[0] == "synthetic/test"
    assert titles[1].startswith("synthetic/test, preset peftcorr [")
    assert titles[2] == "synthetic/test, preset sd4match"
    assert titles[3].startswith("synthetic/test, preset sd4match [")
    assert all(len(section.boards[0].rows) == 1 for section in sections)


def test_seeds_are_averaged_within_a_preset_alone(make_record: Any) -> None:
    records = [
        make_record(f"{preset}-{seed}", pck=pck + seed, seed=seed, **by(preset))
        for preset, pck in (("peftcorr", 60.0), ("sd4match", 40.0))
        for seed in (0, 1)
    ]
    first, second = build_leaderboard(records).sections
    assert first.boards[0].rows[0].per_keypoint["0.1"].mean == 60.5
    assert second.boards[0].rows[0].per_keypoint["0.1"].mean == 40.5
    assert second.boards[0].rows[0].label == "lora"


def test_a_label_leaves_the_preset_to_the_title(make_record: Any) -> None:
    other = {**by("sd4match")["recipe"], "training": {"steps": 150, "learning_rate": 0.0003}}
    sections = build_leaderboard(
        [make_record("a"), make_record("b", recipe=other, protocol=PRESETS["sd4match"])]
    ).sections
    assert [section.boards[0].rows[0].label for section in sections] == [
        "lora (learning rate 0.001)", "lora (learning rate 0.0003)",
    ]  # fmt: skip


def test_the_page_says_what_the_preset_is(make_record: Any, store: Store) -> None:
    store.write(make_record("a"))
    alone = compile_leaderboard(store.root).read_text(encoding="utf-8")
    assert "preset" not in alone
    store.write(make_record("b", pck=40.0, **by("sd4match")))
    page = compile_leaderboard(store.root).read_text(encoding="utf-8")
    assert "## synthetic/test, preset sd4match" in page
    assert "Li et al., SD4Match" in page
    assert "stretched to 768 x 768 px" in page
    assert {path.name for path in (store.root / "figures").iterdir()} == {
        "pck-synthetic-test.svg", "pck-synthetic-test-preset-sd4match.svg",
    }  # fmt: skip


def test_a_record_of_before_presets_is_peftcorrs(make_record: Any) -> None:
    record = make_record("a")
    text = record.model_dump(mode="json")
    del text["protocol"]
    assert Record.model_validate(text) == record
    assert record.protocol == PRESETS["peftcorr"]
