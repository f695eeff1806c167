"""A table of keypoints, one a row, as people write it by hand and with spreadsheets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.data.layouts.points import Points
from peftcorr.errors import PeftCorrError
from tests.published_layouts import picture

HEADER = "image,keypoint,x,y"
PLACES = {"nose": (5, 6), "tail": (25.5, 8), "paw": (12, 30)}


def table(images: int = 3, header: str = HEADER, more: str = "", delimiter: str = ",") -> str:
    """Keypoints of `images` photographs; those of image n lie n pixels to the right."""
    lines = [header]
    for n in range(1, images + 1):
        for name, (x, y) in PLACES.items():
            lines.append(delimiter.join([f"{n}.jpg", name, str(x + n), str(y)]) + more)
    return "\n".join(lines) + "\n"


def write(root: Path, text: str | bytes, images: int = 3, folder: str = ".") -> Path:
    for n in range(1, images + 1):
        picture(root / folder / f"{n}.jpg", (60, 40), n)
    (root / "points.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def source(root: Path, **options: Any) -> Points:
    return Points(Points.Config.model_validate(options), root, root.parent / "cache")


def rows(root: Path, split: str = "test", **options: Any) -> list[dict[str, Any]]:
    return list(source(root, **options).load(split).table)


@pytest.mark.parametrize("folder", [".", "images"])
def test_a_pair_is_read_as_written(tmp_path: Path, folder: str) -> None:
    root = write(tmp_path / "pets", table(), folder=folder)
    dataset = source(root).load("test")
    assert (dataset.name, dataset.split, dataset.image_root) == ("pets", "test", root / folder)
    assert dataset.table.features == PAIR_FEATURES
    assert len(dataset) == 6
    row = dataset.table[0]
    assert {name: value for name, value in row.items() if value is not None} == {
        "pair_id": "1.jpg-2.jpg:all",
        "category": "all",
        "source_image": "1.jpg",
        "target_image": "2.jpg",
        "source_size": [],
        "target_size": [],
        "source_keypoints": [[6, 6], [26.5, 8], [13, 30]],
        "target_keypoints": [[7, 6], [27.5, 8], [14, 30]],
        "keypoint_ids": ["nose", "tail", "paw"],
        "source_box": [6, 6, 26.5, 30],
        "target_box": [7, 6, 27.5, 30],
        "reference_length": 24,
    }
    [note] = source(root).notes("test")
    assert note == (
        f"{root / 'points.csv'}: a table has no boxes: s is the longer side of the box round an object's keypoints."
    )


SAME = {
    "a byte-order mark": "\ufeff" + table(),
    "other case and blanks": table(header=" Image ,KEYPOINT, x,Y"),
    "semicolons": table(header="image;keypoint;x;y", delimiter=";"),
    "semicolons and decimal commas": table(header="image;keypoint;x;y", delimiter=";").replace(".5", ",5"),
    "tabs": table(header="image\tkeypoint\tx\ty", delimiter="\t"),
    "lines of Windows": table().replace("\n", "\r\n"),
    "empty rows": table() + ",,,\n\n",
    "quotes": table().replace("nose", '"nose"'),
    "other columns": table(header=f"{HEADER},who,when", more=",me,today"),
    "a dot before names": table().replace("1.jpg", "./1.jpg"),
    "visible by word": table(header=f"{HEADER},visible", more=",True"),
    "absent by an empty place": table() + "1.jpg,ear,,\n2.jpg,ear,nan,NaN\n",
    "absent by visible": table(header=f"{HEADER},visible", more=",1")
    + "1.jpg,ear,3,4,0\n2.jpg,ear,3,4,false\n",
    "an image without keypoints": table() + "9.jpg,nose,,\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_ways_of_writing_the_same(tmp_path: Path, text: str) -> None:
    plain = rows(write(tmp_path / "a" / "pets", table()))
    root = write(tmp_path / "b" / "pets", text)
    assert rows(root) == plain
    left_out = [note for note in source(root).notes("test") if "left out" in note]
    assert len(left_out) == (text is SAME["an image without keypoints"])


def test_optional_columns(tmp_path: Path) -> None:
    text = table(6, f"{HEADER},category,object,split")
    lines = text.splitlines()
    for index, line in enumerate(lines[1:], start=1):
        n = int(line[0])
        lines[index] = f"{line},{'cat' if n % 2 else 'dog'},rex{n % 3},{'Train' if n < 5 else 'valid'}"
    root = write(tmp_path / "pets", "\n".join(lines), 6)
    made = source(root)
    assert made.splits() == ["trn", "val"]
    pairs = [(row["category"], row["source_image"], row["target_image"]) for row in rows(root, "trn")]
    assert pairs == [
        ("cat", "1.jpg", "3.jpg"), ("cat", "3.jpg", "1.jpg"), ("dog", "2.jpg", "4.jpg"), ("dog", "4.jpg", "2.jpg"),
    ]  # fmt: skip
    assert {i.image: i.thing for i in made.read().instances} == {
        f"{n}.jpg": f"rex{n % 3}" for n in range(1, 7)
    }
    assert {row["category"] for row in rows(root, "trn", within="all")} == {"all"}


def test_two_objects_on_an_image(tmp_path: Path) -> None:
    text = table(2, f"{HEADER},object", ",left")
    text += "".join(f"1.jpg,{name},{x + 20},{y},right\n" for name, (x, y) in PLACES.items())
    root = write(tmp_path / "pets", text, 2)
    assert [row["pair_id"] for row in rows(root)] == [
        "1.jpg#1-2.jpg:all", "1.jpg#2-2.jpg:all", "2.jpg-1.jpg#1:all", "2.jpg-1.jpg#2:all",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"points\.csv lists no keypoint\."),
        (f"{HEADER}\n", r"points\.csv lists no keypoint\."),
        (
            table(header="image,name,x,y"),
            "line 1: there is no column keypoint; a table has image, keypoint, x, y and",
        ),
        (table(header="image,keypoint,x,x"), "line 1: there are two columns x"),
        (table() + "1.jpg,ear,1\n", "line 11: 3 values under 4 columns"),
        (table() + "1.jpg,ear,one,2\n", "line 11: x is 'one'; it must be a number of pixels"),
        (table() + "1.jpg,ear,1,1e7\n", "line 11: y is '1e7'; it must be a number of pixels"),
        (table() + '1.jpg,ear,"1,234",2\n', "line 11: x is '1,234'; .* between the values"),
        (table() + '1.jpg,ear,1,"12,5"\n', "line 11: y is '12,5'; .* with a point, since commas stand"),
        (table() + "1.jpg,ear,1,\n", "line 11: y is empty; give both x and y, or neither"),
        (
            table() + "1.jpg,nose,1,2\n",
            r"line 11: the keypoint 'nose' of '1\.jpg' was given before .*, line 2\)",
        ),
        (table() + "../1.jpg,ear,1,2\n", r"line 11: image is '\.\./1\.jpg'; it must be a path inside"),
        (table() + "1.jpg,,1,2\n", "line 11: keypoint is empty"),
        (table(header=f"{HEADER},visible", more=",maybe"), "line 2: visible is 'maybe'; it must be 1 or 0"),
        (table(header=f"{HEADER},split", more=",x"), "line 2: split is 'x'; it must be train, val or test"),
        (
            table(header=f"{HEADER},split", more=",test") + "1.jpg,ear,1,2,train\n",
            r"line 11: split is trn, but '1\.jpg' is in test already",
        ),
        (table() + '1.jpg,"ear,1,2\n', r"line \d+: no valid CSV"),
        (table().encode("utf-16"), "is not UTF-8 text"),
        (table().replace("2.jpg", "no.jpg"), r"points\.csv: image names a missing image, .*no\.jpg"),
        (table(1), "pets has no test pair, since no two images"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    root = write(tmp_path / "pets", text)
    with pytest.raises(PeftCorrError, match=message) as caught:
        rows(root)
    assert str(caught.value).startswith(str(root / "points.csv"))
    assert "\n" not in str(caught.value)


def test_tables_of_another_name(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", table(2))
    (root / "points.csv").rename(root / "left.csv")
    (root / "right.csv").write_text(
        table(3).replace("1.jpg,", "0.jpg,").replace("2.jpg,", "4.jpg,"), encoding="utf-8"
    )
    for name in ("0", "4"):
        picture(root / f"{name}.jpg", (60, 40))
    assert source(root).splits() == []
    assert len(rows(root, table="left.csv")) == 2
    assert len(rows(root, table="*t.csv")) == 5 * 4
    (root / "again.csv").write_text(table(1), encoding="utf-8")
    with pytest.raises(PeftCorrError, match=r"left\.csv, line 2: .* given before \(.*again\.csv, line 2\)"):
        rows(root, table="*.csv")
    for pattern in ("**x", "../points.csv", "/points.csv"):
        with pytest.raises((PeftCorrError, ValueError)):
            source(root, table=pattern).splits()


def test_the_table_of_the_docs_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "exports.md").read_text(encoding="utf-8")
    text = page.partition('title="points.csv"\n')[2].partition("```")[0]
    root = write(tmp_path / "mice", text)
    [mouse] = source(root).read("trn").instances
    assert (mouse.image, mouse.category, mouse.thing) == ("01.jpg", "mouse", "Ada")
    assert mouse.keypoints == {"nose": (102.5, 44), "tail": (310, 205)}


def test_a_changed_table_is_read_anew(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", table())
    before = source(root).identity()
    write(root, table().replace("25.5", "20.5"))
    assert len(rows(root)) == 6
    assert source(root).identity() == before, "the list of pairs is the same"
    write(root, table(2))
    assert source(root).identity() != before
    with pytest.raises(PeftCorrError, match="recipe was made for a test list of pairs with the checksum"):
        rows(root, **before)
