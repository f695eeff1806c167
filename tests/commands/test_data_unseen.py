"""SPair-U, MP-100 and CUB-200-2011 from an archive in the published layout to a score."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, GradientState

from peftcorr.cli import main
from peftcorr.data.layouts.cub import Cub
from peftcorr.data.layouts.mp100 import Mp100
from peftcorr.data.layouts.spair_u import SpairU
from peftcorr.errors import PeftCorrError
from peftcorr.results.store import Store
from tests.commands.test_data import row
from tests.unseen_archives import PARTS, cub_archive, mp100_archive, mp100_content, spair_u_archives

SHARED = "dataset.shared=2"  # of CUB's parts


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder, with all three prepared in it."""
    folder = tmp_path_factory.mktemp("unseen")
    archives = {
        "spair_u": spair_u_archives(folder),
        "mp100": [mp100_archive(folder)],
        "cub": [cub_archive(folder)],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEFTCORR_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name, files in archives.items():
            assert main(["data", "prepare", name, "--archive", *map(str, files)]) == 0
        yield folder / "cache"


def test_all_three_are_checked_and_scored(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "spair_u"]) == 0
    assert row(capsys.readouterr().out, "test")[:5] == ["test", "8", "2", "6", "16"]
    assert main(["data", "check", "mp100"]) == 0
    out = capsys.readouterr().out
    for word, split in (("train", "trn"), ("val", "val"), ("test", "test")):
        objects = mp100_content()[word]["annotations"]
        seen = [{k for k in range(5) if one["keypoints"][3 * k + 2]} for one in objects]
        pairs = [len(a & b) for a, b in itertools.permutations(seen, 2)]
        assert row(out, split)[:5] == [split, str(len(pairs)), "1", "4", str(sum(pairs))]
    assert main(["data", "check", "cub", "--set", SHARED]) == 0
    out = capsys.readouterr().out
    # Each bird hides one part, and each of three birds of a split another one: two of four are shared.
    assert row(out, "trn")[:5] == ["trn", "12", "2", "6", "24"]
    assert row(out, "test")[:5] == ["test", "12", "2", "6", "24"]

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    command = [
        "run",
        "--strategy",
        "frozen",
        "--backbone",
        "tiny",
        "--image-size",
        "64",
        "--limit-pairs",
        "6",
    ]
    command += ["--dataset", "cub", "--eval-on", "spair_u", "mp100", "--set", SHARED]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    [record] = Store(tmp_path / "out").records()
    found = {split: scores["argmax"] for split, scores in record.scores.items()}
    assert {split: one.n_pairs for split, one in found.items()} == {
        "cub-shared_2/test": 6, "spair_u/test": 6, "mp100/test": 6,
    }  # fmt: skip
    assert list(found["mp100/test"].per_category) == ["human_face"]


def test_spair_u_finds_spair_71k_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spair_u, spair = spair_u_archives(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setenv("PEFTCORR_CACHE", str(cache))
    assert main(["data", "prepare", "spair_u", "--archive", str(spair_u), str(spair)]) == 0
    whole = cache / "datasets" / "spair_u"
    alone = (whole / "datasets" / "SPair-U").rename(tmp_path / "SPair-U")

    def opened(root: Path) -> SpairU:
        return SpairU(SpairU.Config(), root, cache)

    with pytest.raises(PeftCorrError, match="which are SPair-71k's: put its folder beside it"):
        opened(alone)
    beside = (whole / "SPair-71k").rename(tmp_path / "SPair-71k")
    assert len(opened(alone).load("test")) == 8
    prepared = cache / "datasets" / "spair71k"
    prepared.mkdir()
    beside.rename(prepared / "SPair-71k")
    assert len(opened(tmp_path).load("test")) == 8, "in the folder that it was unpacked in"
    for path in alone.rglob("*.json"):
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(PeftCorrError, match="annotates no pair that"):
        opened(alone).load("test")


def test_mp100_has_five_splits_and_images_in_a_folder_of_their_own(tmp_path: Path) -> None:
    mp100_archive(tmp_path)
    root = tmp_path / "made"
    other = Mp100(Mp100.Config(split=2, pairs=2), root, tmp_path / "cache")
    assert other.name == "mp100-split_2-pairs_2"
    assert len(other.load("trn")) == 2
    assert other.load("trn").table[0]["source_image"].startswith("beaver_body/")
    inner = root / "mp100" / "images"
    inner.mkdir()
    for name in ("beaver_body", "sofa", "human_face"):
        (root / "mp100" / name).rename(inner / name)
    assert Mp100(Mp100.Config(), root / "mp100", tmp_path / "cache").load("val").image_root == inner


def test_cub_is_read_to_the_number(tmp_path: Path) -> None:
    cub_archive(tmp_path)
    root = tmp_path / "made"
    table = Cub(Cub.Config(shared=2, within="supercategory"), root, tmp_path / "cache").load("test").table
    assert len({*table["source_image"]}) == 6
    first = next(one for one in table if one["source_image"].endswith("_0004.jpg"))
    assert set(first["keypoint_ids"]) < {*PARTS}
    place = first["keypoint_ids"].index("beak")
    assert first["source_keypoints"][place] == [14.0, 10.0]  # part 2 of the fourth bird
    assert first["source_box"] == [4.0, 5.0, 44.0, 38.0]


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("bounding_boxes.txt", "1 4.0 5.0 40.0", "has not 5 cells"),
        ("bounding_boxes.txt", "1 4.0 5.0 0 0", "the box of image 1 has no size"),
        ("parts/part_locs.txt", "1 2 nan 3.0 1", "must be numbers of pixels"),
        ("parts/part_locs.txt", "1 9 3.0 3.0 1", "does not have the part '9'"),
        ("images.txt", "1 ../secret.jpg", "the path of image 1"),
        ("image_class_labels.txt", "1 77", "does not have the class '77'"),
    ],
)
def test_what_is_wrong_in_cub_is_named(tmp_path: Path, file: str, line: str, said: str) -> None:
    cub_archive(tmp_path)
    root = tmp_path / "made" / "CUB_200_2011"
    lines = (root / file).read_text().splitlines()
    (root / file).write_text("\n".join([line, *lines[1:]]) + "\n")
    with pytest.raises(PeftCorrError) as refusal:
        Cub(Cub.Config(shared=1), root, tmp_path / "cache").load("trn")
    assert said in str(refusal.value)
