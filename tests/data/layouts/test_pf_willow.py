from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from peftcorr.data.layouts.pf_willow import PfWillow, read_points
from peftcorr.errors import PeftCorrError


def source(root: Path | None, cache: Path) -> PfWillow:
    return PfWillow(PfWillow.Config(), root, cache)


def test_all_ordered_pairs_inside_a_class(make_willow: Callable[..., Path], tmp_path: Path) -> None:
    dataset = source(make_willow(images=4), tmp_path / "cache").load("test")
    table = dataset.table
    pairs = list(zip(table["source_image"], table["target_image"], strict=True))
    assert len(pairs) == len(set(pairs)) == 2 * 4 * 3
    assert all(first != second for first, second in pairs)
    assert all(first.split("/")[0] == second.split("/")[0] for first, second in pairs)
    assert set(table["category"]) == {"car(G)", "duck(S)"}
    assert len(set(table["pair_id"])) == len(pairs)
    assert all((dataset.image_root / path).is_file() for path in table["source_image"])


def test_root_may_be_the_folder_or_its_parent(willow_root: Path, tmp_path: Path) -> None:
    for root in (willow_root, willow_root.parent):
        dataset = source(root, tmp_path / "cache").load("test")
        assert len(dataset) == 12
        assert dataset.image_root == willow_root


def test_points_and_reference_length_by_hand(willow_root: Path, tmp_path: Path) -> None:
    points = np.vstack([np.linspace(4.25, 30.25, 10), np.full(10, 7.0)])  # x row, then y row
    points[1, 3] = 40.5
    savemat(willow_root / "car(G)" / "001.mat", {"pts_coord": points})
    table = source(willow_root, tmp_path / "cache").load("test").table
    row = next(row for row in table if row["target_image"] == "car(G)/001.png")
    assert row["target_keypoints"] == points.T.tolist()
    assert row["reference_length"] == 33.5  # 40.5 - 7, more than 30.25 - 4.25
    assert row["keypoint_ids"] == [str(number) for number in range(10)]
    assert row["source_size"] == []
    assert row["mirror"] is None
    backward = next(row for row in table if row["source_image"] == "car(G)/001.png")
    assert backward["reference_length"] != 33.5


def test_changed_mat_is_read_again(willow_root: Path, tmp_path: Path) -> None:
    source(willow_root, tmp_path / "cache").load("test")
    points = np.arange(20.0).reshape(2, 10)
    savemat(willow_root / "car(G)" / "000.mat", {"pts_coord": points})
    row = source(willow_root, tmp_path / "cache").load("test").table[0]
    assert row["source_keypoints"] == points.T.tolist()


def test_replaced_image_kind_is_read_again(willow_root: Path, tmp_path: Path) -> None:
    source(willow_root, tmp_path / "cache").load("test")
    image = willow_root / "car(G)" / "000.png"
    image.rename(image.with_suffix(".jpg"))
    row = source(willow_root, tmp_path / "cache").load("test").table[0]
    assert row["source_image"] == "car(G)/000.jpg"


def test_there_is_a_test_split_alone(willow_root: Path, tmp_path: Path) -> None:
    assert source(willow_root, tmp_path).splits() == ["test"]
    with pytest.raises(PeftCorrError, match="no split 'trn'"):
        source(willow_root, tmp_path).load("trn")


NOT_FINITE = np.ones((2, 10))
NOT_FINITE[1, 4] = np.nan


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"points": np.ones((2, 10))}, "the variable pts_coord is missing"),
        ({"pts_coord": np.arange(20.0).reshape(10, 2)}, "pts_coord is 10 x 2; it must be 2 x K"),
        ({"pts_coord": np.ones((2, 0))}, "pts_coord is 2 x 0"),
        ({"pts_coord": NOT_FINITE}, "NaN, infinite or huge"),
        ({"pts_coord": np.arange(20.0).reshape(2, 10) * 1e9}, "NaN, infinite or huge"),
        ({"pts_coord": "text"}, "must hold numbers"),
        ({"pts_coord": np.ones((2, 10)) * 1j}, "must hold numbers"),
        ({"pts_coord": np.ones((2, 10))}, "all keypoints of pts_coord coincide"),
        ({"pts_coord": np.arange(18.0).reshape(2, 9)}, "9 keypoints where 000.mat of its class has 10"),
    ],
)
def test_malformed_mat_names_the_file(
    willow_root: Path, tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    path = willow_root / "duck(S)" / "001.mat"
    savemat(path, content)
    with pytest.raises(PeftCorrError, match=message) as caught:
        source(willow_root, tmp_path / "cache").load("test")
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_mat(willow_root: Path, share: float) -> None:
    path = willow_root / "duck(S)" / "001.mat"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(PeftCorrError, match=r"001\.mat is no readable MATLAB file"):
        read_points(path)


def test_mat_without_image(willow_root: Path, tmp_path: Path) -> None:
    (willow_root / "duck(S)" / "001.png").unlink()
    with pytest.raises(PeftCorrError, match=r"001\.mat: no image of that name"):
        source(willow_root, tmp_path / "cache").load("test")


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match="--data-root pf_willow=PATH"):
        source(None, tmp_path)
    with pytest.raises(PeftCorrError, match="none is not a folder"):
        source(tmp_path / "none", tmp_path)
    with pytest.raises(PeftCorrError, match="has no class with two images"):
        source(tmp_path, tmp_path / "cache").load("test")


def test_real_pf_willow(shared_root: Path, tmp_path: Path) -> None:
    dataset = source(shared_root / "data" / "pf-willow", tmp_path).load("test")
    table = dataset.table
    assert len(table) == 900
    assert len(set(table["source_image"])) == len(set(table["target_image"])) == 100
    assert len(set(table["category"])) == 10
    assert all(len(points) == 10 for points in table["target_keypoints"])
    row = next(row for row in table if row["target_image"] == "winebottle(woC)/246_0001.png")
    xs, ys = zip(*row["target_keypoints"], strict=True)
    assert row["reference_length"] == max(max(xs) - min(xs), max(ys) - min(ys))
