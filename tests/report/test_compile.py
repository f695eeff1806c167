from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.report.compile import compile_leaderboard
from peftcorr.report.markdown import MARKER
from peftcorr.results.store import Store

PROJECT = Path(__file__).resolve().parents[2]


def files(root: Path) -> dict[str, bytes]:
    """Everything that was generated below the root, by name."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.parent.name != "records"
    }


@pytest.fixture
def records(make_record: Any, make_scores: Any) -> list[Any]:
    transfer = {
        "synthetic/test": {"argmax": make_scores(71.0, 900), "window(r=2)": make_scores(72.5, 900)},
        "pf_willow/test": {"argmax": make_scores(33.0, 400)},
    }
    return [
        make_record("frozen-1", "frozen", 22.0, 0),
        *(make_record(f"lora-{seed}", "lora", 60.0 + seed, 4096, seed=seed) for seed in range(3)),
        make_record("adapter-1", "adapter", 71.0, 20_000, scores=transfer),
        make_record("ssf-1", "ssf", 55.0, 900, weights_id="weights-of-mine", official_weights=False),
        make_record(
            "lora-x",
            "lora",
            status="failed",
            error="The loss is NaN at step 12.\nLower | the rate",
            scores={"x": {}},
        ),
    ]


@pytest.fixture
def page(store: Store, records: list[Any]) -> str:
    for record in records:
        store.write(record)
    return compile_leaderboard(store.root).read_text(encoding="utf-8")


def test_page_shows_what_a_reader_needs(page: str) -> None:
    assert page.startswith(MARKER)
    assert "# peftcorr leaderboard" in page
    assert "`peftcorr compile`" in page
    _, _, table = page.partition("### pf_willow/test, argmax\n\n#### tiny, 128 px, trained on synthetic\n\n")
    assert (
        table.splitlines()[2]
        == "| ★ adapter | 20,000 (20.00 %) | 33.00 | 16.50 | 49.50 | - | 1 min 30 s | 1.23 GB |"
    )
    assert "| ★ lora, 3 seeds | 4,096 (4.10 %) | 61.00 ± 1.00 | 30.50 ± 0.50 |" in page
    assert "| ★ adapter | 20,000 (20.00 %) | **71.00** | **35.50** | **100.00** | +49.00 |" in page
    assert "#### weights-of-mine, 128 px, trained on synthetic" in page
    assert "### synthetic/test, window(r=2)" in page
    for seed in range(3):
        assert f"| lora | tiny, 128 px | synthetic | {seed} | 0.001 | 150 | 01234567 | [lora-{seed}](" in page
    assert (
        "- `lora-x` (lora, tiny, synthetic, seed 0): The loss is NaN at step 12. Lower \\| the rate" in page
    )


def test_a_single_run_shows_its_interval_at_the_ranking_threshold(
    store: Store, make_record: Any, make_scores: Any
) -> None:
    ends = {"0.05": [17.0, 19.0], "0.1": [34.21, 39.46], "0.2": [50.0, 60.0]}
    scores = {**make_scores(36.91, 900), "intervals": {"per_keypoint": ends}}
    store.write(make_record("one", "lora", scores={"synthetic/test": {"argmax": scores}}))
    for seed in range(2):
        seeded = {"synthetic/test": {"argmax": scores}}
        store.write(make_record(f"two-{seed}", "adapter", scores=seeded, seed=seed))
    page = compile_leaderboard(store.root).read_text(encoding="utf-8")
    single, several = (
        next(x for x in page.splitlines() if f" {name}" in x and " MB |" not in x and x.startswith("| ★"))
        for name in ("lora", "adapter, 2 seeds")
    )
    assert "36.91 [34.2, 39.5]" in single
    assert "**36.91 [34.2, 39.5]**" in single  # the best of a column is bold with its interval
    assert "18.45 |" in single.replace("*", "")  # neither other thresholds
    assert single.count("[34.2") == 1  # nor an aggregate without interval has one
    assert "36.91 ± 0.00 [34.2, 39.5]" in several  # seeds that agree leave the images' interval
    assert "95 % interval" in page


def test_without_intervals_nothing_is_said_of_them(page: str) -> None:
    assert "95 % interval" not in page
    assert "± the standard deviation.\n\nMeans over" in page


def test_every_table_row_has_as_many_cells_as_its_header(page: str) -> None:
    header = 0
    for line in page.splitlines():
        if not line.startswith("|"):
            header = 0
            continue
        cells = line.replace("\\|", "").count("|")
        header = header or cells
        assert cells == header, line


def test_figures_are_there_and_are_svg(page: str, store: Store) -> None:
    for name in ("pck-synthetic-test.svg", "pck-pf-willow-test.svg"):
        assert f"](figures/{name})" in page
        root = ElementTree.fromstring((store.root / "figures" / name).read_bytes())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_rebuilding_gives_the_same_bytes(page: str, store: Store) -> None:
    before = files(store.root)
    compile_leaderboard(store.root)
    assert files(store.root) == before
    figures = {"figures/pck-synthetic-test.svg", "figures/pck-pf-willow-test.svg"}
    assert set(before) == {"README.md", "leaderboard.csv", *figures}


def test_another_order_folder_process_and_locale_give_the_same_bytes(
    page: str, store: Store, records: list[Any], tmp_path: Path
) -> None:
    other = Store(tmp_path / "elsewhere")
    for record in reversed(records):
        other.write(record)
    settings = tmp_path / "matplotlibrc"
    settings.write_text("font.size: 30\nsvg.fonttype: none\naxes.facecolor: yellow\n")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from peftcorr.report.compile import compile_leaderboard as build; "
            "build(pathlib.Path(sys.argv[1]))",
            str(other.root),
        ],
        env={
            **os.environ,
            "LC_ALL": "de_DE.UTF-8",
            "PYTHONHASHSEED": "7",
            "MATPLOTLIBRC": str(settings),
            "TZ": "Asia/Tokyo",
        },
        cwd=PROJECT,
        check=True,
    )
    assert files(other.root) == files(store.root)


def test_a_figure_without_records_goes_and_other_files_stay(page: str, store: Store) -> None:
    (store.root / "figures" / "mine.svg").write_text("mine")
    store.record_path("adapter-1").unlink()
    compile_leaderboard(store.root)
    figures = {"figures/pck-synthetic-test.svg", "figures/mine.svg"}
    assert set(files(store.root)) == {"README.md", "leaderboard.csv", *figures}


def test_other_formats_take_the_place_of_the_last_ones(store: Store, make_record: Any) -> None:
    for k in (1, 2):
        store.write(make_record(f"k{k}", "last_k", 50.0 + k, 1000 * k, options={"k": k}))
    for formats in (("svg",), ("pdf",)):
        page = compile_leaderboard(store.root, formats).read_text(encoding="utf-8")
        stems = ("depth-synthetic-test", "pck-synthetic-test")
        assert {path.name for path in (store.root / "figures").iterdir()} == {
            f"{stem}.{kind}" for stem in stems for kind in formats
        }
        for stem in stems:
            assert f"](figures/{stem}.{formats[0]})" in page
        assert page.count("![") == (2 if formats == ("svg",) else 0), "browsers show no PDF as a picture"


def test_a_malformed_record_is_named_and_the_page_stays(page: str, store: Store) -> None:
    before = files(store.root)
    store.record_path("broken").write_text('{"run_id": 3}')
    with pytest.raises(PeftCorrError, match=r"records.broken\.json is no valid record"):
        compile_leaderboard(store.root)
    assert files(store.root) == before


def test_a_full_disk_keeps_the_page(
    page: str, store: Store, make_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(store.root)
    store.write(make_record("new", "lora", 80.0, 5))

    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(PeftCorrError, match="No space left on device"):
            compile_leaderboard(store.root)
    assert files(store.root) == before


@pytest.mark.parametrize("name", ["README.md", "leaderboard.csv"])
def test_a_page_written_by_hand_is_not_overwritten(store: Store, make_record: Any, name: str) -> None:
    store.write(make_record("a"))
    (store.root / name).write_text("# My project\n")
    with pytest.raises(PeftCorrError, match="was not generated"):
        compile_leaderboard(store.root)
    assert files(store.root) == {name: b"# My project\n"}


def test_no_records(store: Store, make_record: Any) -> None:
    with pytest.raises(PeftCorrError, match="There is no folder"):
        compile_leaderboard(store.root)
    store.write(make_record("a", status="failed", error=None, scores={"x": {}}))
    text = compile_leaderboard(store.root).read_text(encoding="utf-8")
    assert "No run has been scored yet." in text
    assert "no error was recorded" in text


def test_a_tuner_of_peft_that_failed_is_called_by_its_name(store: Store, make_record: Any) -> None:
    failed = {"status": "failed", "error": "NaN", "scores": {"x": {}}}
    store.write(make_record("a", "peft", options={"tuner": "ia3"}, **failed))
    assert "- `a` (ia3, tiny, synthetic, seed 0): NaN" in compile_leaderboard(store.root).read_text("utf-8")
