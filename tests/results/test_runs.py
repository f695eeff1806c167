from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.results.runs import complete, find_predictions
from peftcorr.results.store import Store


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "predictions").mkdir()
    for name in ("1faf", "1fab27", "1fab", "9eb8"):
        (tmp_path / "predictions" / f"{name}.parquet").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("run", "found"), [("1fab27", "1fab27"), ("9", "9eb8"), ("1fab", "1fab"), ("1faf", "1faf")]
)
def test_a_run_is_found_by_its_id_or_the_beginning_of_it(output: Path, run: str, found: str) -> None:
    assert find_predictions(run, output) == Store(output).predictions_path(found)


def test_a_file_is_found_by_its_path(output: Path) -> None:
    path = output / "predictions" / "9eb8.parquet"
    assert find_predictions(str(path), Path("elsewhere")) == path


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("1f", "3 runs begin with '1f' .*give more of it"),
        ("1faq", "No predictions of a run '1faq'.* Did you mean '1faf'"),
        ("", "No predictions of a run ''"),
        ("nowhere/x.parquet", "There is no predictions file nowhere"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_is(output: Path, run: str, message: str) -> None:
    with pytest.raises(PeftCorrError, match=message):
        find_predictions(run, output)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"There are no predictions in .*give --output"):
        find_predictions("1f", tmp_path)


def test_an_id_is_completed() -> None:
    assert complete("ab", ["abc", "abcd", "ab"]) == "ab"
    assert complete("abcd", ["abc", "abcd"]) == "abcd"
    assert complete("q", ["abc"]) is None
    assert complete("", ["abc"]) is None
    with pytest.raises(PeftCorrError, match=r"2 runs begin with 'ab' \(abc, abcd\): give more of it"):
        complete("ab", ["abc", "abcd"])
