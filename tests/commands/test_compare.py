"""``peftcorr compare`` on predictions made up on the spot."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftcorr.cli import main
from peftcorr.commands.compare import _cells
from peftcorr.metrics.aggregate import score_predictions
from peftcorr.metrics.compare import Difference
from peftcorr.metrics.presets import PEFTCORR, PRESETS, Preset
from peftcorr.predictions import read_predictions
from peftcorr.results.store import Store
from tests.commands.made_runs import made_runs, record
from tests.metrics.made import drawn, table, written


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return made_runs(tmp_path)


def test_compare_prints_difference_interval_and_p_value(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "aaaa", "bbbb", "--output", str(output), "--alphas", "0.1"]) == 0
    text = capsys.readouterr().out
    assert "A: aaaa1111" in text
    assert "farm/test, argmax" in text
    assert "window" not in text
    line = next(line for line in text.splitlines() if "category mean per image" in line)
    assert "@0.1" in line
    assert "[+" in line
    *_, p_value, corrected, mark = line.split()
    assert 0 < float(p_value) < float(corrected) < 0.05
    assert mark == "*"


def test_p_values_that_cannot_be_counted_are_said_to_be_below(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = drawn(0, {"cat": 9, "dog": 9}, share=0.5, keypoints=3)
    written(rows, output, "near1111")
    written([{**r, "prediction_x": r["truth_x"] + 90} for r in rows], output, "far22222")
    assert main(["compare", "far2", "near", "--output", str(output), "--alphas", "0.1"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("per keypoint"))
    assert line.split()[-3:] == ["<=0.001", "<0.001", "*"]


def test_compare_two_predictors_of_one_run(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "bbbb", "bbbb", "--output", str(output), "--predictor", "argmax", "window"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "farm/test, argmax and window" in text
    assert "+0.00  [+0.00, +0.00]  1.000" in text


@pytest.fixture
def methods(tmp_path: Path) -> Path:
    """Three seeds of one method and two of another that is a little better; no records beside them."""
    rows = drawn(0, {"cat": 6, "dog": 6})
    for name, share, seeds in (("first", 1.0, 3), ("second", 0.7, 2)):
        for seed in range(seeds):
            moved = [
                {
                    **r,
                    "prediction_x": r["truth_x"] + (share + 0.05 * seed) * (r["prediction_x"] - r["truth_x"]),
                }
                for r in rows
            ]
            written(moved, tmp_path, f"{name}{seed}")
    return tmp_path


def test_compare_takes_the_seeds_of_two_methods(methods: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ["first0", "first1", "first2", "--with", "second0", "second1"]
    assert main(["compare", *sets, "--output", str(methods), "--alphas", "0.1"]) == 0
    text = capsys.readouterr().out
    assert "A: first0, first1, first2\nB: second0, second1\n" in text
    assert "cover other seeds too" in text
    assert "p of all is for all 4 of this page" in text
    line = next(line for line in text.splitlines() if line.startswith("per keypoint"))
    one, other = (
        [
            score_predictions(read_predictions(methods / "predictions" / f"{name}{seed}.parquet"), [0.1])[
                "farm/test"
            ]["argmax"].per_keypoint["0.1"]
            for seed in range(seeds)
        ]
        for name, seeds in (("first", 3), ("second", 2))
    )
    assert line.split()[3:5] == [f"{sum(one) / 3:.2f}", f"{sum(other) / 2:.2f}"]

    assert main(["compare", "first0", "--with", "second0", "--output", str(methods), "--alphas", "0.1"]) == 0
    single = capsys.readouterr().out
    assert main(["compare", "first0", "second0", "--output", str(methods), "--alphas", "0.1"]) == 0
    assert capsys.readouterr().out == single
    assert "Neither covers other seeds" in single


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["compare", "aaaa", "cccc"],
            "The runs aaaa1111 and cccc3333 do not have the same keypoints on farm/test: keypoint",
        ),
        (["compare", "aaaa"], "Two runs are compared, and the command names 1: name two"),
        (["compare", "aaaa", "bbbb", "aaaa"], "as in A1 A2 A3 --with B1 B2 B3"),
        (["compare", "aaaa", "aaaa", "--with", "bbbb"], "aaaa1111 is named twice as a run of one method"),
        (["compare", "aaaa", "zzzz"], "No predictions of a run 'zzzz'"),
        (
            ["compare", "aaaa", "bbbb", "--predictor", "a", "b", "c"],
            "--predictor takes one name, or one for each",
        ),
        (["compare", "aaaa", "bbbb", "--alphas", "-1"], "thresholds must be positive"),
        (["compare", "aaaa", "bbbb", "--preset", "geoawar"], "Did you mean 'geoaware'?"),
        (["breakdown", "aaaa", "--predictor", "windw"], "The run has no predictor 'windw'"),
        (["breakdown", "xxxx"], "No predictions of a run 'xxxx'"),
    ],
)
def test_errors_are_one_sentence(
    output: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*arguments, "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("peftcorr: ")
    assert message in error
    assert "Traceback" not in error


SIZES = {"target_width": 400, "target_height": 200, "reference_width": 100.0, "reference_height": 60.0}


def compared(output: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["compare", "aaaa", "bbbb", "--output", str(output), *more]) == 0
    return capsys.readouterr().out


def refused(output: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """What is said, which names both runs and gives no figure."""
    assert main(["compare", "aaaa", "bbbb", "--output", str(output), *more]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "aaaa1111" in said.err
    assert "bbbb2222" in said.err
    assert said.err.count("\n") == 1
    return said.err


def figures(text: str) -> list[list[str]]:
    return [re.split(" {2,}", line.strip()) for line in text.splitlines() if "  @" in line]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (PRESETS["geoaware"], "name peftcorr and geoaware; frame original image and longer side scaled to 840 px"),
        (PRESETS["sd4match"], "frame original image and stretched to 768 x 768 px"),
        (PEFTCORR.model_copy(update={"comparator": "<"}), "protocols (comparator <= and <):"),
        (PEFTCORR.model_copy(update={"normaliser": "the image"}), "reference length and the image):"),
        (PEFTCORR.model_copy(update={"source": "a draft"}), "(source peftcorr's protocol and a draft):"),
    ],
)  # fmt: skip
def test_records_of_different_protocols_are_refused(
    output: Path, capsys: pytest.CaptureFixture[str], other: Preset, said: str
) -> None:
    rows = [{**row, **SIZES} for row in drawn(0, {"cat": 5})]
    for run_id, protocol in (("aaaa1111", PEFTCORR), ("bbbb2222", other)):
        written(rows, output, run_id)
        record(output, run_id, protocol)
    error = refused(output, capsys)
    assert said in error
    assert "give --preset to score both by one" in error
    assert "Correct as defined by: peftcorr" in compared(output, capsys, "--preset", "peftcorr")


def test_runs_of_one_protocol_are_compared_by_it_at_its_thresholds(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, **SIZES} for row in drawn(0, {"cat": 5})]
    for run_id in ("aaaa1111", "bbbb2222"):
        written(rows, output, run_id)
        record(output, run_id, PRESETS["sd4match"], alphas=(0.07,))
    text = compared(output, capsys)
    assert "Correct as defined by: sd4match" in text
    own = {
        name: f"{score_predictions(table(rows), [0.07], PRESETS[name])['farm/test']['argmax'].per_image['0.07']:.2f}"
        for name in ("peftcorr", "sd4match")
    }
    assert own["peftcorr"] != own["sd4match"], "the example does not tell the presets apart"
    [line] = [cells for cells in figures(text) if cells[0].strip() == "per image"]
    assert [cell.strip() for cell in line[1:4]] == ["@0.07", own["sd4match"], own["sd4match"]]


def test_thresholds_that_one_record_has_not_are_refused(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(output, "aaaa1111", alphas=(0.05, 0.1))
    record(output, "bbbb2222", alphas=(0.1, 0.15, 0.2))
    error = refused(output, capsys)
    assert "0.05 is in aaaa1111 alone and 0.15, 0.2 is in bbbb2222 alone. Give --alphas" in error
    assert {cells[1].strip() for cells in figures(compared(output, capsys, "--alphas", "0.1"))} == {"@0.1"}
    record(output, "bbbb2222", alphas=(0.05, 0.1))
    assert {cells[1].strip() for cells in figures(compared(output, capsys))} == {"@0.05", "@0.1"}


def test_records_of_other_pairs_are_refused(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = drawn(0, {"cat": 5}, keypoints=1)
    written(rows, output, "aaaa1111")
    written(rows[:7], output, "bbbb2222")
    record(output, "aaaa1111")
    record(output, "bbbb2222", limit=7)
    error = refused(output, capsys)
    assert "aaaa1111 on 20 pairs with 20 keypoints (limit_pairs: none)" in error
    assert "bbbb2222 on 7 pairs with 7 keypoints (limit_pairs: 7)" in error
    assert "with the same limit_pairs" in error
    written(rows, output, "bbbb2222")
    record(output, "bbbb2222", limit=50)  # more than there are
    compared(output, capsys)


def test_other_datasets_are_refused_and_what_one_run_alone_has_is_said(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = drawn(0, {"cat": 5})
    other = [{**row, "dataset": "farm-box"} for row in rows]
    written(other, output, "bbbb2222")
    for run_id in ("aaaa1111", "bbbb2222"):
        record(output, run_id)
    error = refused(output, capsys)
    assert "have no split in common: one has farm/test, the other farm-box/test. Score both on" in error
    written(rows, output, "aaaa1111")
    written([*other, *rows], output, "bbbb2222")
    text = compared(output, capsys)
    assert "B alone has farm-box/test." in text
    assert "A alone has" not in text


def test_the_same_keypoints_in_an_image_of_another_size_are_refused(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, **SIZES} for row in drawn(0, {"cat": 5})]
    written(rows, output, "aaaa1111")
    for change, said in (
        ({"target_width": 500}, "is 400 in aaaa1111 and 500 in bbbb2222"),
        ({"reference_height": 61.0}, "is 60.0 in aaaa1111 and 61.0 in bbbb2222"),
    ):
        written([*rows[:-1], {**rows[-1], **change}], output, "bbbb2222")
        assert said in refused(output, capsys)


def test_one_record_decides_where_the_other_file_stands_alone(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(output, "aaaa1111", PRESETS["geoaware"], alphas=(0.07,))
    text = compared(output, capsys)
    assert "Correct as defined by: geoaware" in text
    assert {cells[1].strip() for cells in figures(text)} == {"@0.07"}
    path = Store(output).predictions_path("aaaa1111")
    moved = path.rename(output / path.name)
    assert main(["compare", str(moved), "bbbb", "--output", str(output), "--alphas", "0.1"]) == 0
    assert "Correct as defined by: peftcorr" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"no parquet", b"PAR1 nor this PAR1", None])
def test_a_file_that_is_no_predictions_is_refused(
    output: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = output / "predictions" / "dddd.parquet"
    if content is None:
        pq.write_table(pa.table({"prediction_x": ["a", "b"]}), path)
    else:
        path.write_bytes(content)
    assert main(["breakdown", "dddd", "--output", str(output)]) == 2
    said = capsys.readouterr().err
    assert "dddd.parquet is no readable Parquet file" in said or "dddd.parquet has no column" in said


def test_a_difference_that_rounds_to_nothing_has_no_minus() -> None:
    row = Difference(
        "farm/test", ("argmax", "argmax"), "per_keypoint", "0.1", (50.0, 50.0), -0.001, (-0.004, 0.004), 1.0
    )
    assert _cells(row, 100)[4:6] == ["+0.00", "[+0.00, +0.00]"]
