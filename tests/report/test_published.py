from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.report.compile import compile_leaderboard
from peftcorr.report.published import published_section, read_published
from peftcorr.results.store import Store

SHIPPED = Path(__file__).resolve().parents[2] / "leaderboard" / "published.yaml"
SOUND = """\
measure: PCK@0.1 on SPair-71k test
sources:
  one: {citation: "A | B, <i>Title*</i>"}
  two: {citation: C, url: https://example.org/c}
rows:
  - {benchmark: B, model: M, tuning: frozen, averaging: per_keypoint, per_keypoint: 64.0, source: one}
  - {benchmark: B, model: "M|`x`", tuning: LoRA, averaging: both, per_keypoint: 48.00, per_image: 7, source: two}
"""
ADDED = "  - {{benchmark: B, model: M, tuning: VPT, averaging: not stated, {}, source: two}}\n"


@pytest.fixture
def root(store: Store, make_record: Any) -> Path:
    store.write(make_record("a", pck=60.0))
    return store.root


def test_they_stand_apart_at_the_end_of_the_page(root: Path) -> None:
    without = compile_leaderboard(root).read_text(encoding="utf-8")
    assert "Published" not in without
    (root / "published.yaml").write_text(SOUND, encoding="utf-8")
    page = compile_leaderboard(root).read_text(encoding="utf-8")
    ours, heading, theirs = page.partition("## Published figures, none of them measured here")
    assert heading
    assert ours.rstrip().replace(", but for the published figures at its end", "") == without.rstrip()
    assert "authors' own figures under their own protocols" in theirs
    assert "PCK@0.1 on SPair-71k test." in theirs
    assert "lora" not in theirs
    assert "64.0" not in ours
    assert compile_leaderboard(root).read_text(encoding="utf-8") == page


def test_figures_keep_their_digits_and_order_and_text_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(SOUND, encoding="utf-8")
    found = read_published(path)
    assert found is not None
    assert published_section(found).splitlines()[-2:] == [
        "| B | M | frozen | 64.0 | - | A \\| B, &lt;i>Title\\*&lt;/i> |",
        "| B | M\\|\\`x\\` | LoRA | 48.00 | 7 | [C](https://example.org/c) |",
    ]


def test_a_gain_is_in_a_column_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(SOUND + ADDED.format("relative: +4.8"), encoding="utf-8")
    found = read_published(path)
    assert found is not None
    section = published_section(found)
    assert "| per image | relative to its own frozen model | Source |" in section
    assert "| B | M | VPT | - | - | +4.8 % | [C](https://example.org/c) |" in section
    assert "| B | M | frozen | 64.0 | - | - | A" in section


def test_a_figure_of_unknown_averaging_stands_with_no_other(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(SOUND + ADDED.format("pck: 88.9"), encoding="utf-8")
    found = read_published(path)
    assert found is not None
    assert "| B | M | VPT | - | - | 88.9 | [C](https://example.org/c) |" in published_section(found)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("64.0", "640", "rows.0.per_keypoint"),
        ("64.0", "nan", "rows.0.per_keypoint"),
        (", per_keypoint: 64.0", "", "give per_keypoint, per_image, pck or relative"),
        (", source: one", "", "rows.0.source: Field required"),
        ("source: one", "source: oen", "no source 'oen' under sources. Did you mean 'one'?"),
        ("tuning: frozen", "tuning: ''", "rows.0.tuning"),
        (
            "averaging: both",
            "averaging: per_image",
            "averaging is per_image, but the figures given are per_image",
        ),
        ("averaging: both", "averaging: per_pixel", "rows.1.averaging"),
        ("per_image: 7", "per_imag: 7", "rows.1.per_imag"),
        ("https://example.org/c", "javascript:alert(1)", "sources.two.url"),
        ("https://example.org/c", "'https://example.org/c)[x](y'", "sources.two.url"),
        (SOUND, "[]", "published.yaml: file: "),
        (SOUND, "rows: [", "not readable as YAML"),
        (SOUND, "measure: !!python/object/apply:os.system [x]", "published.yaml: measure"),
    ],
)
def test_what_is_wrong_is_named_and_the_page_stays(root: Path, old: str, new: str, said: str) -> None:
    before = compile_leaderboard(root).read_bytes()
    assert SOUND.count(old) == 1
    (root / "published.yaml").write_text(SOUND.replace(old, new), encoding="utf-8")
    with pytest.raises(PeftCorrError) as caught:
        compile_leaderboard(root)
    assert str(root / "published.yaml") in str(caught.value)
    assert said in str(caught.value)
    assert (root / "README.md").read_bytes() == before


def test_the_shipped_figures() -> None:
    found = read_published(SHIPPED)
    assert found is not None
    assert {row.source for row in found.rows} == set(found.sources)
    figures = {
        (row.benchmark, row.model, row.tuning): (row.per_keypoint, row.per_image) for row in found.rows
    }
    assert len(figures) == len(found.rows) == 26
    assert figures["SPair-71k", "DINOv2 ViT-B/14", "last block"] == ("73.74", "70.91")
    assert figures["SPair-71k", "DINOv3 ViT-B/16", "frozen"] == ("51.98", "48.00")
    assert figures["SPair-71k", "Stable Diffusion and DINOv2", "frozen"] == ("64.0", None)
    assert {row.benchmark for row in found.rows} == {"SPair-71k", "SPair-U", "AP-10K"}
