from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftcorr.data import DATASETS
from peftcorr.data.base import PairDataset
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.data.layouts.spair import Spair71k, SpairFolder
from peftcorr.errors import PeftCorrError

NAME = "000000-2008_000001-2008_000002:cat"
Change = Callable[[dict[str, Any]], None]


def folder(root: Path, layout: str = "large") -> SpairFolder:
    config = SpairFolder.Config.model_validate({"layout": layout})
    return SpairFolder(config, root, root.parent / "cache")


def load(root: Path, split: str = "test", layout: str = "large") -> PairDataset:
    return folder(root, layout).load(split)


def test_the_four_sources_are_registered() -> None:
    assert {"spair71k", "pairs", "pf_willow", "synthetic"} <= set(DATASETS.names())
    assert DATASETS.get("spair71k") is Spair71k
    assert DATASETS.get("pairs") is SpairFolder


def test_a_pair_is_read_as_annotated(spair_root: Path) -> None:
    dataset = load(spair_root)
    assert (dataset.name, dataset.split, len(dataset)) == ("farm", "test", 12)
    assert dataset.table.features == PAIR_FEATURES
    assert dataset.table[0] == {
        "pair_id": NAME,
        "category": "cat",
        "source_image": "cat/2008_000001.jpg",
        "target_image": "cat/2008_000002.jpg",
        "source_size": [60, 40],
        "target_size": [60, 40],
        "source_keypoints": [[5.0, 10.0], [9.0, 12.0], [13.0, 14.0], [17.0, 16.0]],
        "target_keypoints": [[7.5, 11.0], [11.5, 13.0], [15.5, 15.0], [19.5, 17.0]],
        "target_occluded": None,
        "keypoint_ids": ["0", "3", "6", "9"],
        "source_box": [3.0, 4.0, 50.0, 36.0],
        "target_box": [5.0, 6.0, 47.0, 31.0],
        "reference_length": 42.0,  # 47 - 5, the target's, not the source's 47
        "viewpoint_variation": 2,
        "scale_variation": 1,
        "truncation": 3,
        "occlusion": 0,
        "mirror": 0,
    }
    assert all((dataset.image_root / path).is_file() for path in dataset.table["source_image"])


def test_reference_length_is_the_height_where_that_is_longer(spair: Any) -> None:
    root = spair.write()
    spair.pair("test", NAME, spair.annotation("cat", *spair.images[:2]) | {"trg_bndbox": [5, 6, 10, 37.5]})
    assert load(root).table[0]["reference_length"] == 31.5


def test_splits_are_those_with_a_layout_file(spair: Any) -> None:
    root = spair.write(("test",))
    assert folder(root).splits() == ["test"]
    assert len(load(root)) == 12
    with pytest.raises(PeftCorrError, match=r"has no split 'trn': it has test\."):
        load(root, "trn")


def test_small_layout_is_another_list_and_another_name(spair: Any) -> None:
    root = spair.write()
    spair.list("test", [NAME], layout="small")
    assert len(load(root, layout="large")) == 12
    small = load(root, layout="small")
    assert len(small) == 1
    assert small.name == "farm-small"
    assert folder(root, "small").splits() == ["test"]


def test_order_is_that_of_the_layout_file(spair: Any) -> None:
    root = spair.write()
    names = list(reversed(load(root).table["pair_id"]))
    spair.list("test", names)
    assert load(root).table["pair_id"][:] == names


def test_recipe_of_another_folder_is_refused(spair_root: Path, tmp_path: Path) -> None:
    def made(name: str) -> SpairFolder:
        return SpairFolder(SpairFolder.Config(folder=name), spair_root, tmp_path / "cache")

    assert made("farm").name == "farm"
    with pytest.raises(PeftCorrError, match=r"made for the dataset 'zoo', but the data root .* holds 'farm'"):
        made("zoo")


def test_spair71k_is_found_in_the_folder_it_was_unpacked_in(spair: Any, tmp_path: Path) -> None:
    spair.root = tmp_path / "downloads" / "SPair-71k"
    root = spair.write()
    for given in (root, root.parent):
        dataset = Spair71k(Spair71k.Config(), given, tmp_path / "cache").load("val")
        assert (dataset.name, len(dataset)) == ("spair71k", 12)
        assert dataset.image_root == root / "JPEGImages"


def test_single_keypoint_pair(spair: Any) -> None:
    root = spair.write()
    spair.pair("test", NAME, spair.annotation("cat", *spair.images[:2], keypoints=1))
    row = load(root).table[0]
    assert row["source_keypoints"] == [[5.0, 10.0]]
    assert row["keypoint_ids"] == ["0"]


def test_keypoint_outside_its_box_stays(spair: Any) -> None:
    root = spair.write()
    pair = spair.annotation("cat", *spair.images[:2])
    pair["trg_kps"][0] = [59, -2]
    spair.pair("test", NAME, pair)
    assert load(root).table[0]["target_keypoints"][0] == [59.0, -2.0]


def test_variation_fields_may_be_absent_and_ids_may_be_numbers(spair: Any) -> None:
    root = spair.write()
    pair = spair.annotation("cat", *spair.images[:2]) | {"kps_ids": [4, 2, 7, 1]}
    for field in ("mirror", "viewpoint_variation", "scale_variation", "truncation", "occlusion"):
        del pair[field]
    spair.pair("test", NAME, pair)
    row = load(root).table[0]
    assert row["keypoint_ids"] == ["4", "2", "7", "1"]
    assert row["mirror"] is None
    assert load(root).table[1]["truncation"] == 3


def put(field: str, value: Any) -> Change:
    return lambda pair: pair.update({field: value})


def drop(field: str) -> Change:
    return lambda pair: pair.pop(field)


MALFORMED: dict[str, tuple[Change, str]] = {
    "no source keypoints": (drop("src_kps"), "the field src_kps is missing"),
    "no box": (drop("trg_bndbox"), "the field trg_bndbox is missing"),
    "text for a number": (put("src_kps", [["5", 1]] * 4), r"src_kps\.0\.0 is '5'; it must be a valid number"),
    "truth value for a number": (
        put("src_kps", [[True, 1]] * 4),
        r"src_kps\.0\.0 is True; it must be a valid number",
    ),
    "null keypoint": (
        put("trg_kps", [[1, 2], None, [1, 2], [1, 2]]),
        r"trg_kps\.1 is None; it must be a valid array",
    ),
    "three coordinates": (
        put("trg_kps", [[1, 2, 3]] * 4),
        r"trg_kps\.0 is \[1, 2, 3\]; it must have at most 2",
    ),
    "NaN": (put("src_kps", [[1, 2], [float("nan"), 2], [1, 2], [1, 2]]), r"src_kps\.1\.0 is nan"),
    "infinite": (put("trg_bndbox", [0, 0, float("inf"), 9]), r"trg_bndbox\.2 is inf"),
    "huge": (
        put("trg_kps", [[1e12, 2]] * 4),
        r"trg_kps\.0\.0 is 1000000000000\.0; it must be less than or equal to 1000000\.$",
    ),
    "beyond a float": (put("src_imsize", [10**400, 40, 3]), r"src_imsize\.0 "),
    "fewer target keypoints": (put("trg_kps", [[1, 2]] * 3), "src_kps has 4, trg_kps has 3, kps_ids has 4"),
    "fewer source keypoints": (put("src_kps", [[1, 2]] * 3), "src_kps has 3, trg_kps has 4, kps_ids has 4"),
    "fewer ids": (put("kps_ids", ["1"]), "src_kps has 4, trg_kps has 4, kps_ids has 1"),
    "repeated id": (put("kps_ids", ["1", "2", "1", "3"]), "kps_ids has '1' twice"),
    "no keypoint": (
        lambda pair: pair.update(src_kps=[], trg_kps=[], kps_ids=[]),
        r"src_kps is \[\]; it must have at least 1",
    ),
    "negative box": (
        put("trg_bndbox", [47, 31, 5, 6]),
        r"trg_bndbox is \[47\.0, 31\.0, 5\.0, 6\.0\]; it must be x1, y1, x2, y2",
    ),
    "box without width": (put("src_bndbox", [5, 6, 5, 30]), "src_bndbox is .* it must be x1, y1, x2, y2"),
    "box without height": (put("trg_bndbox", [5, 6, 30, 6]), "trg_bndbox is .* it must be x1, y1, x2, y2"),
    "box of three": (put("trg_bndbox", [1, 2, 3]), r"the field trg_bndbox\.3 is missing"),
    "size zero": (
        put("src_imsize", [0, 40, 3]),
        r"src_imsize\.0 is 0; it must be greater than or equal to 1",
    ),
    "negative size": (put("trg_imsize", [60, -40, 3]), r"trg_imsize\.1 is -40"),
    "fractional size": (
        put("trg_imsize", [60.5, 40, 3]),
        r"trg_imsize\.0 is 60\.5; it must be a valid integer",
    ),
    "one side": (put("trg_imsize", [60]), r"trg_imsize is \[60\]; it must have at least 2"),
    "missing image": (put("trg_imname", "2008_00002.jpg"), r"trg_imname names a missing image.*Did you mean"),
    "unknown category": (put("category", "cow"), "category 'cow' has no folder"),
    "category of another type": (put("category", 3), "category is 3; it must be a valid string"),
    "path that leaves the folder": (
        put("src_imname", "../../secret.jpg"),
        r"src_imname is '\.\./\.\./secret\.jpg'; it must be a plain name",
    ),
    "category that leaves the folder": (
        put("category", ".."),
        r"category is '\.\.'; it must be a plain name",
    ),
    "absolute path": (
        put("trg_imname", "/etc/passwd"),
        "trg_imname is '/etc/passwd'; it must be a plain name",
    ),
    "empty name": (put("trg_imname", ""), "trg_imname is empty"),
    "variation that is no small number": (put("truncation", 4000), "truncation is 4000"),
}


@pytest.mark.parametrize(("change", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_annotation_names_file_and_field(spair: Any, change: Change, message: str) -> None:
    root = spair.write(("test",))
    pair = spair.annotation("cat", *spair.images[:2])
    change(pair)
    path = spair.pair("test", NAME, pair)
    with pytest.raises(PeftCorrError, match=message) as caught:
        load(root)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"category": "cat"', "not valid JSON"),
        (b"[]", r"the file is \[\]; it must be an object"),
        (
            json.dumps({"category": "caf\xe9"}, ensure_ascii=False).encode("latin-1"),
            r"not UTF-8 text \(byte 17\)",
        ),
        ('{"category": "cat"}'.encode("utf-16"), "not UTF-8 text"),
    ],
    ids=["empty", "cut short", "a list", "latin-1", "utf-16"],
)
def test_file_that_is_no_json_object(spair: Any, content: bytes, message: str) -> None:
    root = spair.write(("test",))
    path = spair.pair("test", NAME, content)
    with pytest.raises(PeftCorrError, match=message) as caught:
        load(root)
    assert str(caught.value).startswith(str(path))


def test_layout_line_without_annotation(spair: Any) -> None:
    root = spair.write(("test",))
    spair.list("test", [NAME, "000999-a-b:cat"])
    with pytest.raises(
        PeftCorrError, match=r"test\.txt, line 2: there is no annotation .*000999-a-b:cat\.json"
    ):
        load(root)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "lists no pair"),
        (["", "  "], "lists no pair"),
        ([NAME, NAME], "line 2: .* is on line 1 already"),
        (["../test/" + NAME], "line 1: .*plain name"),
    ],
)
def test_unsound_layout_file(spair: Any, lines: list[str], message: str) -> None:
    root = spair.write(("test",))
    spair.list("test", lines)
    with pytest.raises(PeftCorrError, match=message):
        load(root)


def test_layout_file_from_windows(spair: Any) -> None:
    root = spair.write(("test",))
    spair.list("test", []).write_bytes(b"\xef\xbb\xbf" + NAME.encode() + b"\r\n\r\n")
    assert load(root).table["pair_id"][:] == [NAME]


def test_layout_file_of_another_encoding(spair: Any) -> None:
    root = spair.write(("test",))
    path = spair.list("test", [])
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(PeftCorrError, match=r"test\.txt is not UTF-8"):
        load(root)


def test_missing_annotation_folder(spair: Any) -> None:
    root = spair.write(("test",))
    spair.list("val", [NAME])
    with pytest.raises(PeftCorrError, match=r"Cannot list the folder .*PairAnnotation/val"):
        load(root, "val")


@pytest.mark.parametrize("source", [SpairFolder, Spair71k])
def test_missing_root(tmp_path: Path, source: type[SpairFolder]) -> None:
    for root, message in (
        (None, "--data-root"),
        (tmp_path / "none", "none is not a folder"),
        (tmp_path, "has no Layout"),
    ):
        with pytest.raises(PeftCorrError, match=message):
            source(source.Config(), root, tmp_path / "cache")


def test_real_animal_pairs(shared_root: Path, tmp_path: Path) -> None:
    root = shared_root / "data" / "animal-pairs"
    source = SpairFolder(SpairFolder.Config(), root, tmp_path)
    datasets = {split: source.load(split) for split in source.splits()}
    assert {split: len(dataset) for split, dataset in datasets.items()} == {
        "trn": 8000,
        "val": 660,
        "test": 1886,
    }
    images = {
        split: set(dataset.table["source_image"]) | set(dataset.table["target_image"])
        for split, dataset in datasets.items()
    }
    assert {split: len(names) for split, names in images.items()} == {"trn": 497, "val": 60, "test": 100}
    assert not images["trn"] & images["test"]
    row = datasets["test"].table[0]
    assert row["pair_id"] == "000001-2008_005252-2008_007913:cat"
    assert row["reference_length"] == pytest.approx(177.6 - 44.0)
