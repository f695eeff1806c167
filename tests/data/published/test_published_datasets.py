"""The datasets in their published layouts through the command line: scored, recorded and made out of the same pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.state import AcceleratorState, GradientState

from peftcorr.cli import console
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.published_layouts import (
    arrange_ap10k_sample,
    coco_content,
    write_ap10k,
    write_coco,
    write_json,
    write_pf_pascal,
)
from tests.small_videos import photographed_videos, write_pickle


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))


def run(output: Path, *arguments: str) -> int:
    """``peftcorr run`` of the frozen embedded backbone at 64 px, as the installed command does it."""
    small = ("--strategy", "frozen", "--backbone", "tiny", "--image-size", "64", "--output", str(output))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["peftcorr", "run", *small, *arguments])
        with pytest.raises(SystemExit) as ended:
            console()
    return int(ended.value.code or 0)


def only(output: Path) -> Record:
    [record] = Store(output).records()
    assert record.status == "ok"
    return record


def counts(record: Record) -> dict[str, tuple[int, int]]:
    scored = {name: next(iter(by.values())) for name, by in record.scores.items()}
    return {name: (scores.n_pairs, scores.n_keypoints) for name, scores in scored.items()}


def test_one_run_scores_all_three(tmp_path: Path) -> None:
    recipe = tmp_path / "three.yaml"
    three: list[dict[str, Any]] = [
        {"name": "pf_pascal", "threshold": "box"},
        {"name": "coco", "pairs": 2},
        {"name": "ap10k", "setting": "cross_family"},
    ]
    recipe.write_text(yaml.safe_dump({"dataset": "pf_pascal", "eval_on": three}), encoding="utf-8")
    roots = {
        "pf_pascal": write_pf_pascal(tmp_path / "pf-pascal"),
        "coco": write_coco(tmp_path / "farm", ("test",)),
        "ap10k": write_ap10k(tmp_path / "ap-10k"),
    }
    given = ["--data-root", *(f"{name}={root}" for name, root in roots.items())]
    assert run(tmp_path / "out", "--recipe", str(recipe), "--limit-pairs", "12", *given) == 0
    record = only(tmp_path / "out")
    found = counts(record)
    assert set(found) == {
        "pf_pascal/test",
        "pf_pascal-box/test",
        "farm-pairs_2/test",
        "ap10k-cross_family/test",
    }
    assert found["pf_pascal/test"] == found["pf_pascal-box/test"] == (2, 4)
    assert found["farm-pairs_2/test"][0] == 4
    assert found["ap10k-cross_family/test"][0] == 12
    sections = {section["name"]: section for section in record.recipe["eval_on"]}
    assert sections["coco"]["folder"] == "farm-pairs_2"
    assert set(sections["coco"]["pair_lists"]) == {"test"}
    assert set(sections["ap10k"]["pair_lists"]) == {"val", "test"}
    assert "pair_lists" not in record.recipe["dataset"]
    for name in ("coco", "ap10k"):
        [path] = (tmp_path / "cache" / "pair_lists").glob(
            f"*-test-{sections[name]['pair_lists']['test'][:12]}.tsv"
        )
        assert len(path.read_text(encoding="utf-8").splitlines()) == {"coco": 4, "ap10k": 90}[name]


def test_a_recipe_from_a_record_needs_the_same_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_coco(tmp_path / "farm", ("test",))
    given = ["--data-root", f"coco={root}"]
    assert run(tmp_path / "out", "--dataset", "coco", *given) == 0
    recipe = tmp_path / "again.yaml"
    recipe.write_text(yaml.safe_dump({"dataset": only(tmp_path / "out").recipe["dataset"]}), encoding="utf-8")
    capsys.readouterr()
    assert run(tmp_path / "out", "--recipe", str(recipe), *given) == 0
    assert "done before, nothing to do" in capsys.readouterr().out

    content = coco_content()
    content["annotations"].pop()
    write_json(root / "annotations" / "test.json", content)
    assert run(tmp_path / "other", "--recipe", str(recipe), *given) != 0
    assert "recipe was made for a test list of pairs with the checksum" in capsys.readouterr().err


def test_real_pf_pascal_and_ap10k_photographs(shared_root: Path, tmp_path: Path) -> None:
    data = shared_root / "data"
    recipe = tmp_path / "real.yaml"
    sample = {"name": "coco", "annotations": "{split}_ap10k.json", "images": ".", "within": "all"}
    recipe.write_text(yaml.safe_dump({"dataset": "pf_pascal", "eval_on": [sample]}), encoding="utf-8")
    roots = [f"pf_pascal={data / 'pf-pascal'}", f"coco={data / 'ap-10k-sample'}"]
    assert run(tmp_path / "out", "--recipe", str(recipe), "--data-root", *roots) == 0
    record = only(tmp_path / "out")
    assert counts(record) == {"pf_pascal/test": (65, 488), "ap-10k-sample-within_all/test": (2, 32)}
    assert set(record.scores["pf_pascal/test"]["argmax"].per_category) == {
        "cat",
        "cow",
        "dog",
        "horse",
        "sheep",
        "sofa",
    }


def test_real_pf_willow_photographs(shared_root: Path, tmp_path: Path) -> None:
    root = shared_root / "data" / "pf-willow"
    few = ("--limit-pairs", "10")
    assert run(tmp_path / "out", "--dataset", "pf_willow", "--data-root", str(root), *few) == 0
    record = only(tmp_path / "out")
    assert counts(record) == {"pf_willow/test": (10, 100)}
    assert record.scores["pf_willow/test"]["argmax"].per_keypoint["0.2"] > 0


def test_the_real_ap10k_sample_as_ap10k(shared_root: Path, tmp_path: Path) -> None:
    root = arrange_ap10k_sample(shared_root / "data" / "ap-10k-sample", tmp_path / "ap-10k")
    given = ("--dataset", "ap10k", "--data-root", str(root))
    options = ("--set", "dataset.setting=cross_family", "dataset.crowd=keep")
    assert run(tmp_path / "out", *given, *options) == 0
    assert counts(only(tmp_path / "out")) == {"ap10k-cross_family-with_crowds/test": (1, 16)}


def test_real_davis_frames(shared_root: Path, tmp_path: Path) -> None:
    """Three frames of two sequences; the pairs are each first frame with the two after it."""
    videos = photographed_videos(shared_root / "data" / "davis" / "JPEGImages" / "480p", 3)
    root = write_pickle(tmp_path / "davis" / "tapvid_davis.pkl", videos)
    assert run(tmp_path / "out", "--dataset", "tapvid_davis", "--data-root", str(root)) == 0
    record = only(tmp_path / "out")
    assert counts(record) == {"tapvid_davis-first/test": (4, 4)}
    tracking = record.tracking["tapvid_davis-first/test"]["argmax"]
    assert tracking.per_video.keys() == {"blackswan", "car-shadow"}
