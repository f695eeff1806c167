"""DeepLabCut projects: tables of several videos, with one animal or several, of older and newer versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from tests.data.layouts.test_points import rows, source
from tests.labelled_exports import deeplabcut_rows, write_deeplabcut


@pytest.mark.parametrize("index", ["one cell", "three cells", "Windows"])
@pytest.mark.parametrize("inside", ["", "labeled-data", "labeled-data/reach-1"])
def test_a_project_of_one_animal(tmp_path: Path, index: str, inside: str) -> None:
    root = write_deeplabcut(tmp_path / "reach", index=index) / inside
    found = rows(root)
    images = {row["source_image"] for row in found}
    videos = [1] if inside.endswith("1") else [1, 2]
    below = {"": "labeled-data/reach-{}/", "labeled-data": "reach-{}/"}.get(inside, "")
    assert images == {f"{below.format(v)}img{n:04d}.png" for v in videos for n in range(3)}
    first = found[0]
    assert first["keypoint_ids"] == ["snout", "left ear", "tail base", "tip"]
    assert first["source_keypoints"] == [[5.25, 6], [12, 7.5], [20, 24], [22, 9]]
    assert first["reference_length"] == 18
    assert {i.thing for i in source(root).read().instances} == {f"reach-{v}" for v in videos}


def test_a_project_of_several_animals(tmp_path: Path) -> None:
    root = write_deeplabcut(tmp_path / "pair", animals=("mus1", "mus2"))
    found = rows(root)
    assert len(found) == 12 * 10, "twelve animals on six frames: each with those of the five others"
    assert {row["pair_id"].split(":")[0].split("-")[-1][-1] for row in found} == {"1", "2"}
    assert {row["category"] for row in found} == {"all"}


def test_what_was_not_labelled_is_absent(tmp_path: Path) -> None:
    root = write_deeplabcut(tmp_path / "reach")
    path = root / "labeled-data" / "reach-2" / "CollectedData_Ada.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3] = lines[3].split(",")[0] + "," * 8
    lines[4] = lines[4].replace("24.0,24.0", "NaN,NaN")
    path.write_text("\n".join(lines), encoding="utf-8")
    labelled = {i.image[-18:]: list(i.keypoints) for i in source(root).read().instances}
    assert "each-2/img0000.png" not in labelled
    assert labelled["each-2/img0001.png"] == ["snout", "left ear", "tip"]
    assert any("1 of 6 objects have no keypoints" in note for note in source(root).notes("test"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(1), "its first rows are .*; DeepLabCut's tables begin with scorer"),
        (lambda rows: rows[2].__setitem__(1, "z"), "the row coords has 'z'; it must have x and y"),
        (
            lambda rows: rows[2].__setitem__(1, ""),
            "the row coords has 'y' in cell 3, before that of the first x",
        ),
        (lambda rows: rows[2].__setitem__(3, "likelihood"), "'left ear' has no column x, or none y"),
        (lambda rows: rows[1].__setitem__(slice(3, 5), ["snout"] * 2), "'snout' has two columns x"),
        (lambda rows: rows[1].__setitem__(3, ""), "a name in column 4 is empty"),
        (lambda rows: rows[1].pop(), "line 2: 8 values under 9 columns"),
        (lambda rows: rows[4].pop(), "line 5: 8 values under 9 columns"),
        (
            lambda rows: rows[4].__setitem__(1, "left"),
            "line 5: x of 'snout' is 'left'; it must be a number of pixels",
        ),
        (lambda rows: rows[4].__setitem__(1, ""), "line 5: 'snout' has y alone"),
        (
            lambda rows: rows[4].__setitem__(0, "a/.."),
            r"line 5: the frame is '\./\.\.'; it must be a path inside",
        ),
        (lambda rows: rows.append(rows[3]), "line 7: the keypoint 'snout' of 'img0000.png' was given before"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: object, message: str) -> None:
    root = write_deeplabcut(tmp_path / "reach") / "labeled-data" / "reach-1"
    table = deeplabcut_rows("reach-1")
    change(table)  # type: ignore[operator]
    path = root / "CollectedData_Ada.csv"
    path.write_text("".join(",".join(row) + "\n" for row in table), encoding="utf-8")
    with pytest.raises(PeftCorrError, match=message) as caught:
        rows(root)
    assert str(caught.value).startswith(str(path))
