from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from peftcorr.data.base import PairDataset
from peftcorr.data.layouts.ap10k import Ap10k
from peftcorr.errors import PeftCorrError
from tests.published_layouts import (
    ANIMAL_KEYPOINTS,
    SPECIES,
    ap10k_content,
    ap10k_seen,
    arrange_ap10k_sample,
    coco_object,
    write_ap10k,
    write_json,
)

ANTELOPES = range(1, 55)
SHEEP = range(55, 87)
FOXES = range(87, 118)
DOGS = range(118, 121)
ELEPHANTS = range(121, 125)
LISTS = {
    "trn": "7ff4c4f7c933",
    "val": "0641c7c672e0",
    "test": "77c2de75402d",
}  # what the seed 0 gives on every machine


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ap10k(tmp_path_factory.mktemp("data") / "ap-10k", pictures=False)


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    """A folder of this test's own; the empty files that stand for the pictures are shared."""
    own = tmp_path / "ap-10k"
    shutil.copytree(published, own, ignore=shutil.ignore_patterns("data"))
    (own / "data").symlink_to(published / "data")
    return own


def source(root: Path, **options: Any) -> Ap10k:
    return Ap10k(Ap10k.Config.model_validate(options), root, root.parent / "cache")


def load(root: Path, split: str = "test", **options: Any) -> PairDataset:
    return source(root, **options).load(split)


def pairs(dataset: PairDataset) -> list[tuple[int, int]]:
    columns = [dataset.table[side] for side in ("source_image", "target_image")]
    return [(int(a.split(".")[0]), int(b.split(".")[0])) for a, b in zip(*columns, strict=True)]


def images(dataset: PairDataset) -> set[int]:
    return {number for pair in pairs(dataset) for number in pair}


def test_the_union_is_split_by_species(root: Path) -> None:
    """The last 30 images of a species are for testing, the 20 before them for validation, the rest for training."""
    assert images(load(root, "trn")) == set(range(1, 5))
    assert images(load(root, "val")) == {*range(5, 25), 55, 56}  # one fox alone has nobody to pair with
    assert images(load(root, "test")) == {*range(25, 55), *range(57, 87), *range(88, 118), *DOGS, *ELEPHANTS}


def test_each_pair_of_a_species_stands_once_in_one_direction(root: Path) -> None:
    dataset = load(root)
    assert (dataset.name, dataset.image_root) == ("ap10k", root / "data")
    counts = Counter(dataset.table["category"][:])
    assert counts == {"antelope": 435, "argali sheep": 435, "arctic fox": 435, "dog": 3, "elephant": 6}
    found = pairs(dataset)
    assert len({frozenset(pair) for pair in found}) == len(found)
    turned = sum(first > second for first, second in found)
    assert 0.4 < turned / len(found) < 0.6
    antelopes = [pair for pair in found if set(pair) <= set(ANTELOPES)]
    sources = Counter(first for first, _ in antelopes)
    assert sorted(sources.values()) == list(range(1, 30)), "one order of all images gives every direction"


def test_a_keypoint_hidden_in_an_image_counts_for_half(root: Path) -> None:
    """Of three that two images share, all must be seen in both; with a fourth, some may be hidden."""
    seen = {121: "222", 122: "222", 123: "221", 124: "1222"}
    content = ap10k_content()
    for part in content.values():
        for annotation in part["annotations"]:
            if marks := seen.get(annotation["image_id"]):
                points = [(5, 5, int(mark)) for mark in marks] + [(0, 0, 0)] * (17 - len(marks))
                annotation["keypoints"] = [value for point in points for value in point]
    for split, written in content.items():
        write_json(root / "annotations" / f"ap10k-{split}-split1.json", written)
    assert {frozenset(pair) for pair in pairs(load(root)) if set(pair) <= set(ELEPHANTS)} == {
        frozenset((121, 122))
    }
    for part in content.values():
        for annotation in part["annotations"]:
            if annotation["image_id"] in seen:
                annotation["keypoints"][9:12] = [5, 5, 2]
    for split, written in content.items():
        write_json(root / "annotations" / f"ap10k-{split}-split1.json", written)
    assert sum(set(pair) <= set(ELEPHANTS) for pair in pairs(load(root))) == 6


def test_a_pair_is_read_as_annotated(root: Path) -> None:
    dataset = load(root)
    first, second = next(pair for pair in pairs(dataset) if set(pair) <= set(ELEPHANTS))
    row = dataset.table[pairs(dataset).index((first, second))]
    shared = [k for k in ap10k_seen(first) if k in ap10k_seen(second)]
    assert row["source_keypoints"] == [[first + k, 2 * k] for k in shared]
    assert row["target_keypoints"] == [[second + k, 2 * k] for k in shared]
    assert row["keypoint_ids"] == [ANIMAL_KEYPOINTS[k] for k in shared]
    assert row["reference_length"] == max(20, 9 + second % 20)
    assert row["target_size"] == [160, 40]


def test_training_pairs_are_limited_by_the_number_of_images(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(load(root, "trn")) == 6
    monkeypatch.setattr("peftcorr.data.layouts.ap10k._TRN_PAIRS", 1)
    (root.parent / "cache").rename(root.parent / "old")
    assert len(load(root, "trn")) == 4


def test_cross_species_pairs_two_species_of_a_family(root: Path) -> None:
    test, val = (load(root, split, setting="cross_species") for split in ("test", "val"))
    assert test.name == "ap10k-cross_species"
    assert Counter(test.table["category"][:]) == {"Bovidae": 900, "Canidae": 90}  # of 30 x 30 and of 30 x 3
    assert Counter(val.table["category"][:]) == {"Bovidae": 40}  # of 20 x 2; Canidae have one species there
    for dataset in (test, val):
        for pair in pairs(dataset):
            assert len({number in ANTELOPES for number in pair}) == 2 or len({n in FOXES for n in pair}) == 2
    assert all(first in ANTELOPES for first, _ in pairs(test)[:900]), "as in the notebook, none is turned"
    assert all(first in FOXES for first, _ in pairs(test)[900:])
    assert source(root, setting="cross_species").splits() == ["val", "test"]
    with pytest.raises(PeftCorrError, match=r"ap10k-cross_species has no split 'trn': it has val, test"):
        load(root, "trn", setting="cross_species")


def test_cross_family_pairs_two_families(root: Path) -> None:
    test, val = (load(root, split, setting="cross_family") for split in ("test", "val"))
    assert test.name == "ap10k-cross_family"
    assert set(test.table["category"][:]) == {"all"}
    assert (len(test), len(val)) == (3 * 30, 20)  # validation has two families
    parts = zip(SPECIES.values(), (ANTELOPES, SHEEP, FOXES, DOGS, ELEPHANTS), strict=True)
    family = {number: above for (_, above, _), part in parts for number in part}
    met = Counter(frozenset(family[n] for n in pair) for pair in pairs(test))
    assert set(met.values()) == {30}
    assert all(len(both) == 2 for both in met)
    assert all(family[first] < family[second] for first, second in pairs(test)), "none is turned"
    assert len(set(pairs(test))) == len(test)


def test_images_of_the_crowd_list_are_dropped_before_the_split(root: Path) -> None:
    (root / "ap-10k_is_crowd.txt").write_text("000000000054\n000000000053\n\n", encoding="utf-8")
    assert images(load(root)) >= {23, 24, 25}
    assert not images(load(root)) & {53, 54}
    (root / "ap-10k_is_crowd.txt").rename(root.parent / "ap-10k_is_crowd.txt")
    assert not images(load(root)) & {53, 54}
    assert load(root, crowd="keep").name == "ap10k-with_crowds"
    assert 54 in images(load(root, crowd="keep"))
    (root.parent / "ap-10k_is_crowd.txt").write_text("54\n5x\n", encoding="utf-8")
    with pytest.raises(PeftCorrError, match=r"ap-10k_is_crowd\.txt, line 2: '5x' is no image id"):
        load(root)
    (root.parent / "ap-10k_is_crowd.txt").unlink()
    with pytest.raises(
        PeftCorrError, match=r"has no ap-10k_is_crowd\.txt, .* get it from https://.* crowd: keep"
    ):
        load(root)


def test_the_first_animal_of_an_image_counts_and_needs_three_keypoints(root: Path) -> None:
    content = ap10k_content()
    part = next(part for part in content.values() if any(a["image_id"] == 121 for a in part["annotations"]))
    part["annotations"].append(coco_object(121, 20, range(17), 17, bbox=[0, 0, 50, 39], area=1950))
    for split in content.values():
        for annotation in split["annotations"]:
            if annotation["image_id"] == 122:
                annotation["keypoints"] = [1, 1, 2] * 2 + [0, 0, 0] * 15
    for split, written in content.items():
        write_json(root / "annotations" / f"ap10k-{split}-split1.json", written)
    dataset = load(root)
    assert 122 not in images(dataset)
    lengths = {row["reference_length"] for row in dataset.table if row["target_image"].endswith("121.jpg")}
    assert lengths <= {20.0}
    assert 121 in images(dataset)


def test_seed_and_order(root: Path) -> None:
    options = {"setting": "cross_family"}
    drawn = pairs(load(root, **options))
    assert load(root, **options, seed=1).name == "ap10k-cross_family-seed_1"
    assert pairs(load(root, **options, seed=1)) != drawn
    for path in (root / "annotations").iterdir():
        content = json.loads(path.read_text())
        content["annotations"].reverse()
        content["images"].reverse()
        write_json(path, content)
    assert pairs(load(root, **options)) == drawn


def test_the_lists_are_the_datasets_identity(root: Path) -> None:
    identity = source(root).identity()
    assert {split: checksum[:12] for split, checksum in identity["pair_lists"].items()} == LISTS
    assert len(load(root, **identity)) == 435 * 3 + 9
    with pytest.raises(PeftCorrError, match="recipe was made for a test list of pairs with the checksum abc"):
        load(root, pair_lists={"test": "abc"})


def test_malformed_annotation_names_file_and_field(root: Path) -> None:
    content = ap10k_content()["val"]
    content["annotations"][3]["bbox"] = [1, 2, 3, "4"]
    path = write_json(root / "annotations" / "ap10k-val-split1.json", content)
    with pytest.raises(
        PeftCorrError, match=r"annotations\.3\.bbox\.3 is '4'; it must be a valid number"
    ) as caught:
        load(root)
    assert str(caught.value).startswith(str(path))


def test_missing_image(root: Path) -> None:
    (root / "data").unlink()
    (root / "data").mkdir()
    with pytest.raises(PeftCorrError, match=r"file_name names a missing image, .*data/0000"):
        load(root)


def test_missing_root(root: Path, tmp_path: Path) -> None:
    assert len(load(root.parent)) == 435 * 3 + 9
    (root / "annotations" / "ap10k-val-split1.json").unlink()
    for given, message in (
        (None, "--data-root ap10k=PATH"),
        (tmp_path / "none", "none is not a folder"),
        (root, r"has no annotations/ap10k-train-split1\.json, annotations/ap10k-test-split1\.json, "),
    ):
        with pytest.raises(PeftCorrError, match=message):
            Ap10k(Ap10k.Config(), given, tmp_path / "cache")


def test_real_sample_in_the_published_layout(shared_root: Path, tmp_path: Path) -> None:
    """Its two photographs are of two families, which is one cross-family pair."""
    arrange_ap10k_sample(shared_root / "data" / "ap-10k-sample", tmp_path / "ap-10k")
    made = source(tmp_path, setting="cross_family", crowd="keep")
    assert set(made.identity()["pair_lists"]) == {"val", "test"}
    [row] = made.load("test").table
    assert {row["source_image"], row["target_image"]} == {"000000000004.jpg", "000000037516.jpg"}
    assert len(row["keypoint_ids"]) == 16
    with pytest.raises(PeftCorrError, match=r"annotations: ap10k-with_crowds has no test pair"):
        load(tmp_path, crowd="keep")
