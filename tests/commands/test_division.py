"""``peftcorr data split``: what it prints, what it writes, and what it never touches."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from peftcorr.cli import main
from tests.data.layouts.test_points import table, write
from tests.labelled_exports import (
    write_coco_annotator,
    write_cvat,
    write_deeplabcut,
    write_label_studio,
    write_roboflow,
)
from tests.published_layouts import write_coco


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))


def files(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_lists_are_written_beside_data_that_stay_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_cvat(tmp_path / "mice")
    before = files(root)
    assert main(["data", "split", str(root), "--val", "0.25", "--test", "0.25", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    after = files(root)
    assert after.keys() - before.keys() == {f"splits/{split}.txt" for split in ("trn", "val", "test")}
    assert {name: after[name] for name in before} == before
    assert [line.split() for line in out.splitlines()[2:5]] == [
        ["trn", "6", "6", "1"], ["val", "3", "3", "1"], ["test", "3", "3", "1"],
    ]  # fmt: skip
    assert "No two images are near-duplicates." in out
    assert (
        "The annotation names 6 objects or videos: --by object keeps the images of each in one split." in out
    )
    assert f"Written: {root / 'splits'}, by image, seed 3. The data were not touched." in out
    options = "annotations=annotations/person_keypoints_default.json images=images/default"
    assert f"peftcorr data check coco --data-root {root} --set {options}\n" in out

    assert main(["data", "split", str(root)]) == 2
    assert f"{root / 'splits'} is there already: delete it" in capsys.readouterr().err
    assert files(root) == after
    shutil.rmtree(root / "splits")
    assert main(["data", "split", str(root), "--val", "0.25", "--test", "0.25", "--seed", "3"]) == 0
    assert files(root) == after, "the same seed gives the same lists"
    shutil.rmtree(root / "splits")
    assert main(["data", "split", str(root), "--by", "object"]) == 0
    splits = [
        {int(n[6:12]) // 2 for n in (root / "splits" / f"{s}.txt").read_text().split()}
        for s in ("trn", "test")
    ]
    assert not splits[0] & splits[1], "no track is in two splits"


def test_near_duplicates_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "pets", table(8), 8)
    shutil.copy(root / "1.jpg", root / "8.jpg")
    assert main(["data", "split", str(root)]) == 0
    out = capsys.readouterr().out
    assert "2 images are near-duplicates of 1 pictures; each is in one split:\n  1.jpg, 8.jpg\n" in out
    assert f"peftcorr run --dataset points --data-root {root}\n" in out


def test_what_is_divided_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_roboflow(tmp_path / "mice")
    before = files(root)
    assert main(["data", "split", str(root)]) == 0
    out = capsys.readouterr().out
    assert f"{root} is divided already, into trn, val, test: nothing was written.\n" in out
    assert "Warning" not in out
    assert "--set 'dataset.annotations={split}/_annotations.coco.json' 'dataset.images={split}'" in out
    assert files(root) == before
    first, last = (next(iter(sorted((root / split).glob("*.jpg")))) for split in ("train", "test"))
    shutil.copy(first, last)
    assert main(["data", "split", str(root)]) == 0
    assert (
        "Warning: 1 of the 3 images of test are near-duplicates of images of trn (" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (write_label_studio, "coco {} --set annotations=result.json images=."),
        (write_coco_annotator, "coco {} --set annotations=mice-1.json images=."),
        (write_deeplabcut, "points {}"),
        (
            lambda root: write_roboflow(root, (("train", 8),)),
            "--set annotations=train/_annotations.coco.json images=train",
        ),
        (lambda root: write_coco(root, ("1",)), "coco {} --set annotations=annotations/1.json images=images"),
    ],
)  # fmt: skip
def test_exports_are_recognised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], Path], found: str
) -> None:
    root = make(tmp_path / "mice")
    assert main(["data", "split", str(root), "--val", "0"]) == 0
    assert found.format(f"--data-root {root}") in capsys.readouterr().out
    assert sorted(path.name for path in (root / "splits").iterdir()) == ["test.txt", "trn.txt"]


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_label_studio(tmp_path / "mice")

    def refused(*arguments: str) -> str:
        assert main(["data", "split", *arguments]) == 2
        assert not (root / "splits").exists()
        return capsys.readouterr().err

    assert "nowhere is not a folder" in refused(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "holds no annotation that is known" in refused(str(tmp_path / "empty"))
    (tmp_path / "pairs" / "Layout").mkdir(parents=True)
    (tmp_path / "pairs" / "PairAnnotation").mkdir()
    assert "is in SPair-71k's layout (--dataset pairs)" in refused(str(tmp_path / "pairs"))
    for shares in (("--val", "0.5", "--test", "0.5"), ("--val", "-0.1"), ("--test", "nan"), ("--seed", "-1")):
        assert "--val and --test are shares" in refused(str(root), *shares)
    assert "does not say what is one object" in refused(str(root), "--by", "object")
    shutil.copy(root / "result.json", root / "again.json")
    assert "holds several annotations (again.json, result.json): choose one" in refused(str(root))
    shutil.rmtree(root / "images")
    message = refused(str(root), "--set", "annotations=result.json", "images=.")
    assert ".jpg is missing." in message
    (root / "again.json").unlink()
    assert "names images that are not below" in refused(str(root))
    assert "layot" in refused(str(root), "--set", "annotations=result.json", "layot=1")
