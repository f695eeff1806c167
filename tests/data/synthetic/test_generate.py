from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.data.synthetic import CATEGORIES, SyntheticConfig, generate, object_seed, render_view
from peftcorr.data.synthetic.generate import run_tasks
from peftcorr.data.synthetic.pairs import keypoint_names
from tests.commanding import PROJECT

SMALL = {
    "categories": ("car", "insect"),
    "images": {"trn": 4, "val": 2, "test": 3},
    "pairs": {"trn": 7, "val": 2, "test": 100},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "rendered"
    generate(root, SyntheticConfig.model_validate(SMALL), workers=1)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def annotations(root: Path, split: str) -> list[dict[str, object]]:
    names = (root / "Layout" / "large" / f"{split}.txt").read_text().split()
    return [json.loads((root / "PairAnnotation" / split / f"{name}.json").read_text()) for name in names]


def test_two_processes_write_the_same_bytes_as_one(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    generate(
        tmp_path / "again",
        SyntheticConfig.model_validate(SMALL),
        workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert contents(tmp_path / "again") == contents(folder)
    assert seen[-1] == (18, 18)


def test_another_seed_gives_other_pictures(folder: Path, tmp_path: Path) -> None:
    generate(tmp_path / "other", SyntheticConfig.model_validate(SMALL | {"seed": 1}), workers=1)
    mine, other = contents(folder), contents(tmp_path / "other")
    pictures = [name for name in mine if name.endswith(".png")]
    assert len(pictures) == 18
    assert all(mine[name] != other[name] for name in pictures)


def test_no_object_is_in_two_pictures(folder: Path) -> None:
    files = sorted((folder / "ImageAnnotation").rglob("*.json"))
    seeds = [json.loads(path.read_text())["object_seed"] for path in files]
    assert len(set(seeds)) == len(seeds) == 18


def test_seeds_differ_between_namespaces() -> None:
    seeds = {
        object_seed(seed, namespace, category, index)
        for seed in range(3)
        for namespace in ("trn", "val", "test", "pretrain")
        for category in CATEGORIES
        for index in range(50)
    }
    assert len(seeds) == 3 * 4 * len(CATEGORIES) * 50
    assert min(seeds) >= 0


def test_the_ordinary_loader_reads_the_folder(folder: Path, tmp_path: Path) -> None:
    source = SpairFolder(SpairFolder.Config(), folder, tmp_path)
    assert source.splits() == ["trn", "val", "test"]
    for split in source.splits():
        table = source.load(split).table
        expected = annotations(folder, split)
        assert table["pair_id"][:] == [pair["filename"] for pair in expected]
        assert table["target_keypoints"][:] == [pair["trg_kps"] for pair in expected]


def test_pairs_agree_with_their_images(folder: Path) -> None:
    for split, most in (("trn", 7), ("val", 2), ("test", 6)):
        pairs = annotations(folder, split)
        assert {pair["category"] for pair in pairs} == {"car", "insect"}
        for category in ("car", "insect"):
            assert 1 <= sum(pair["category"] == category for pair in pairs) <= most
        for pair in pairs:
            assert pair["src_imname"] != pair["trg_imname"]
            for role in ("src", "trg"):
                name = str(pair[f"{role}_imname"])
                assert name.startswith(f"{split}_")
                image = json.loads(
                    (
                        folder / "ImageAnnotation" / str(pair["category"]) / name.replace(".png", ".json")
                    ).read_text()
                )
                with Image.open(folder / "JPEGImages" / str(pair["category"]) / name) as picture:
                    assert [*picture.size, len(picture.getbands())] == pair[f"{role}_imsize"]
                ids, points = pair["kps_ids"], pair[f"{role}_kps"]
                assert isinstance(ids, list)
                assert len(set(ids)) == len(ids) >= 3
                assert [image["kps"][key] for key in ids] == points
                assert pair[f"{role}_bndbox"] == image["bndbox"]


def test_keypoint_file_names_every_landmark_and_its_partner(folder: Path) -> None:
    listed = json.loads((folder / "keypoints.json").read_text())
    assert set(listed) == {"car", "insect"}
    assert listed["car"] == keypoint_names(CATEGORIES["car"])
    for category in CATEGORIES.values():
        partners = keypoint_names(category)
        assert len({entry["name"] for entry in partners}) == len(partners) >= 10
        for index, entry in enumerate(partners):
            partner = partners[int(entry["mirror"])]
            assert partner["mirror"] == index
            words = str(entry["name"]).split("_")
            assert ("left" in words) == ("right" in str(partner["name"]).split("_"))
            assert (entry is partner) == (not {"left", "right"} & set(words))


@pytest.mark.parametrize("category", CATEGORIES)
def test_landmarks_seen_lie_in_the_picture_and_near_the_box(category: str) -> None:
    for index in range(3):
        view = render_view(category, object_seed(5, "test", category, index), view_seed=0)
        height, width, _ = view.image.shape
        x1, y1, x2, y2 = view.box
        assert 0 <= x1 < x2 <= width - 1
        assert 0 <= y1 < y2 <= height - 1
        assert len(view.visible) >= 4
        for name in view.visible:
            x, y = view.landmarks[name]
            assert 0 <= x <= width - 1
            assert 0 <= y <= height - 1
            assert x1 - 8 <= x <= x2 + 8
            assert y1 - 8 <= y <= y2 + 8


def test_a_render_is_a_function_of_its_seeds() -> None:
    first, again, other = (render_view("bird", seed, 4) for seed in (11, 11, 12))
    assert np.array_equal(first.image, again.image)
    assert first.landmarks == again.landmarks
    assert first.landmarks != other.landmarks


def test_a_finished_folder_is_left_alone(folder: Path) -> None:
    before = contents(folder)
    generate(folder, SyntheticConfig(seed=99), workers=1)
    assert contents(folder) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no signal masks there")
def test_ctrl_c_is_for_the_process_that_waits() -> None:
    """A terminal sends it to all of them, and each would print where it was."""
    blocked = partial(signal.pthread_sigmask, signal.SIG_BLOCK)
    assert list(run_tasks(blocked, [()], workers=2)) == [((), {signal.SIGINT})]
    assert signal.SIGINT not in blocked(())


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        generate(tmp_path / "never", SyntheticConfig.model_validate(SMALL), workers=1, progress=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"categories": ("unicorn",)},
        {"categories": ()},
        {"categories": ("car", "car")},
        {"image": 3},
        {"seed": -1},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SyntheticConfig.model_validate(wrong)


def test_the_fingerprint_follows_the_settings() -> None:
    assert SyntheticConfig().fingerprint() == SyntheticConfig(seed=0).fingerprint()
    assert SyntheticConfig().fingerprint() != SyntheticConfig(minimum_shared=4).fingerprint()


def test_a_script_that_renders_need_not_guard_itself(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from peftcorr.data.synthetic.generate import run_tasks\n"
        "print(sorted(result for _, result in run_tasks(abs, [-1, -2], workers=2)))\n"
        "print(sys.modules['__main__'].__file__ == __file__)\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout.split("\n"), done.stderr) == (["[1, 2]", "True", ""], "")
