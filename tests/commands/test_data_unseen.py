"""SPair-U, MP-100 and CUB-200-2011 from an archive in the published layout to a score."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from peftcorr.cli import main
from peftcorr.data.layouts.cub import Cub
from peftcorr.data.layouts.mp100 import Mp100
from peftcorr.data.layouts.spair_u import SpairU
from peftcorr.errors import PeftCorrError
from tests.commands.test_data import cache as cache
from tests.commands.test_data import evaluate, row
from tests.unseen_archives import PARTS, cub_archive, mp100_archive, mp100_content, spair_u_archives

pytestmark = pytest.mark.usefixtures("cache")


def test_spair_u_from_its_archive_to_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archives = [str(path) for path in spair_u_archives(tmp_path)]
    assert main(["data", "prepare", "spair_u", "--archive", *archives]) == 0
    capsys.readouterr()
    assert main(["data", "check", "spair_u"]) == 0
    assert row(capsys.readouterr().out, "test")[:5] == ["test", "8", "2", "6", "16"]
    record = evaluate("spair_u", tmp_path / "out")
    assert record.scores["spair_u/test"]["argmax"].n_pairs == 6


def test_spair_u_finds_spair_71k_without_links(tmp_path: Path) -> None:
    spair_u, _ = spair_u_archives(tmp_path)
    made = tmp_path / "made"
    assert (
        main(["data", "prepare", "spair_u", "--archive", *map(str, (spair_u, tmp_path / "SPair-71k.tar.gz"))])
        == 0
    )
    whole = tmp_path / "cache" / "datasets" / "spair_u"
    alone = (whole / "datasets" / "SPair-U").rename(tmp_path / "SPair-U")

    def opened(root: Path) -> SpairU:
        return SpairU(SpairU.Config(), root, tmp_path / "cache")

    with pytest.raises(PeftCorrError, match="which are SPair-71k's: put its folder beside it"):
        opened(alone)
    beside = (whole / "SPair-71k").rename(tmp_path / "SPair-71k")
    assert len(opened(alone).load("test")) == 8
    prepared = tmp_path / "cache" / "datasets" / "spair71k"
    prepared.mkdir()
    beside.rename(prepared / "SPair-71k")
    assert len(opened(tmp_path).load("test")) == 8, "in the folder that it was unpacked in"
    for path in alone.rglob("*.json"):
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(PeftCorrError, match="annotates no pair that"):
        opened(alone).load("test")
    assert made.is_dir()


def test_mp100_from_its_archive_to_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "mp100", "--archive", str(mp100_archive(tmp_path))]) == 0
    capsys.readouterr()
    assert main(["data", "check", "mp100"]) == 0
    out = capsys.readouterr().out
    for word, split in (("train", "trn"), ("val", "val"), ("test", "test")):
        objects = mp100_content()[word]["annotations"]
        seen = [{k for k in range(5) if one["keypoints"][3 * k + 2]} for one in objects]
        pairs = [len(a & b) for a, b in itertools.permutations(seen, 2)]
        assert row(out, split)[:5] == [split, str(len(pairs)), "1", "4", str(sum(pairs))]
    record = evaluate("mp100", tmp_path / "out")
    assert list(record.scores["mp100/test"]["argmax"].per_category) == ["human_face"]
    root = tmp_path / "cache" / "datasets" / "mp100"
    other = Mp100(Mp100.Config(split=2, pairs=2), root, tmp_path / "cache")
    assert other.name == "mp100-split_2-pairs_2"
    assert len(other.load("trn")) == 2
    assert other.load("trn").table[0]["source_image"].startswith("beaver_body/")
    inner = root / "mp100" / "images"
    inner.mkdir()
    for name in ("beaver_body", "sofa", "human_face"):
        (root / "mp100" / name).rename(inner / name)
    assert Mp100(Mp100.Config(), root, tmp_path / "cache").load("val").image_root == inner


def test_cub_from_its_archive_to_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "cub", "--archive", str(cub_archive(tmp_path))]) == 0
    capsys.readouterr()
    options = ("dataset.shared=2",)
    assert main(["data", "check", "cub", "--set", *options]) == 0
    out = capsys.readouterr().out
    # Each of the birds hides one part, and each of three birds of a split another one: two of four are shared.
    assert row(out, "trn")[:5] == ["trn", "12", "2", "6", "24"]
    assert row(out, "test")[:5] == ["test", "12", "2", "6", "24"]
    evaluate("cub", tmp_path / "out", "--set", *options, recorded="cub-shared_2")
    root = tmp_path / "cache" / "datasets" / "cub" / "CUB_200_2011"
    source = Cub(Cub.Config(shared=2, within="supercategory"), root, tmp_path / "cache")
    table = source.load("test").table
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
