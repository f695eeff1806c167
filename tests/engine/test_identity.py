"""What names a run changes with what the run reads, and with nothing else: for every dataset that there is."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peftcorr.data import DATASETS
from peftcorr.data.synthetic import generate
from peftcorr.engine.plan import Plan
from peftcorr.errors import PeftCorrError
from peftcorr.registry import load_plugin_file
from tests.engine.edited import LAYOUTS, Layout, in_json, move_a_track, moved, write_lines
from tests.engine.identified import Desk, copied, flip
from tests.published_layouts import coco_content, write_coco, write_json
from tests.small_folder import write_folder
from tests.small_models import Small, save_weights
from tests.small_videos import make_video, write_videos
from tests.test_readme import PLUGINS, printed_plugins


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(Small, tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture(scope="module", autouse=True)
def _lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The dataset that the docs print, as a plugin."""
    path = tmp_path_factory.mktemp("plugin") / "lines.py"
    path.write_text(printed_plugins(PLUGINS)["lines.py"], encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DATASETS, "_entries", dict(DATASETS._entries))
        load_plugin_file(path)
        yield


class Case:
    """A dataset in a folder ``here``, and plans of frozen runs on it."""

    def __init__(self, what: str, layout: Layout, folder: Path, weights: Path):
        self.layout = layout
        self.name = what.split()[0]
        self.root = layout.write(folder / "here")
        self.desk = Desk(folder, weights, {"": self.root})

    def plan(self, **sections: Any) -> Plan:
        return self.desk.plan(*self.layout.options, dataset=self.name, **sections)


@pytest.fixture(params=LAYOUTS)
def case(request: pytest.FixtureRequest, tmp_path: Path, weights: Path) -> Case:
    return Case(request.param, LAYOUTS[request.param], tmp_path, weights)


def test_a_keypoint_a_box_or_a_byte_makes_another_run_that_says_why(case: Case) -> None:
    before = case.plan()
    assert case.plan().run_id == before.run_id
    edits = {"annotation": [case.layout.keypoint, case.layout.box], "images": [case.layout.image]}
    for what, edit in ((what, edit) for what, edits in edits.items() for edit in edits if edit is not None):
        case.desk.measured(before)
        edit(case.root)
        after = case.plan()
        assert after.run_id != before.run_id
        assert (
            f"{what} of {case.layout.shown}/test changed since 12.34 was measured ({before.run_id})."
            in case.desk.said(after)
        )
        before = after


def test_a_folder_copied_elsewhere_is_the_same_run(case: Case) -> None:
    before = case.plan()
    moved_to = copied(case.root, case.root.parent / "elsewhere" / "of another name")
    machines = (
        case.root.parent / "another machine",
        case.root.parent,
    )  # without a cache, and with the first one's
    for folder in machines:
        case.desk = Desk(folder, case.desk.weights, {case.name: moved_to})
        assert case.plan().run_id == before.run_id


def test_what_was_changed_back_is_the_first_run(case: Case) -> None:
    before = case.plan().run_id
    spare = copied(case.root, case.root.parent / "spare")
    case.layout.keypoint(case.root)
    case.layout.image(case.root)
    assert case.plan().run_id != before
    case.desk.roots = {"": spare}
    assert case.plan().run_id == before


SYNTHETIC = (
    "dataset.categories=[car]",
    "dataset.images={trn: 2, val: 2, test: 2}",
    "dataset.pairs={trn: 2, val: 2, test: 2}",
    "dataset.minimum_shared=1",
)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Render without spawning processes; returns the folders that were rendered."""
    folders: list[Path] = []

    def counted(folder: Path, config: Any, progress: Any = None) -> None:
        folders.append(folder)
        generate(folder, config, 1, progress)

    monkeypatch.setattr("peftcorr.data.synthetic.rendered.generate", counted)
    return folders


def test_a_rendered_image_that_lost_a_bit_is_rendered_again(
    tmp_path: Path, weights: Path, rendered: list[Path]
) -> None:
    desk = Desk(tmp_path, weights)
    before = desk.plan(*SYNTHETIC, dataset="synthetic")
    desk.measured(before)
    assert len(rendered) == 1
    for image in sorted(rendered[0].glob("JPEGImages/car/*.png")):
        flip(image)
    assert desk.plan(*SYNTHETIC, dataset="synthetic").run_id == before.run_id
    assert len(rendered) == 2
    other = desk.plan(*SYNTHETIC, "dataset.seed=1", dataset="synthetic")
    assert other.run_id != before.run_id
    assert desk.said(other) == []  # another recipe, and no other ingredients of the same one
    elsewhere = Desk(tmp_path / "elsewhere", weights)
    assert elsewhere.plan(*SYNTHETIC, dataset="synthetic").run_id == before.run_id


# What of a machine there is


def test_nothing_of_the_machine_enters(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "photographs")
    before = Desk(tmp_path / "one", weights, {"": root}).plan(
        "training.steps=4", strategy="lora", dataset="pairs"
    )
    other = Desk(tmp_path / "two", copied(weights, tmp_path / "renamed weights"), {"pairs": root})
    other.output, other.cache = tmp_path / "results", tmp_path / "kept"
    monkeypatch.setattr("peftcorr.data.per_file.processors", lambda: 7)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.chdir(root)
    other.roots = {"": Path()}
    after = other.plan("training.steps=4", strategy="lora", dataset="pairs")
    assert after.run_id == before.run_id
    assert after.ingredients == before.ingredients


def test_a_link_to_a_folder_is_the_folder(tmp_path: Path, weights: Path) -> None:
    root = write_folder(tmp_path / "photographs")
    (tmp_path / "link").symlink_to(root)
    plans = [
        Desk(tmp_path, weights, {"": folder}).plan(dataset="pairs") for folder in (root, tmp_path / "link")
    ]
    assert plans[0].run_id == plans[1].run_id


# What is read


def test_only_what_a_run_reads_counts(tmp_path: Path, weights: Path) -> None:
    """A run that trains reads trn and val besides test; one that trains nothing reads test alone."""
    root = write_folder(tmp_path / "photographs")
    desk = Desk(tmp_path, weights, {"": root})

    def ids() -> tuple[str, str]:
        return (
            desk.plan(dataset="pairs").run_id,
            desk.plan("training.steps=4", strategy="lora", dataset="pairs").run_id,
        )

    before = frozen, trained = ids()
    for split in ("trn", "val"):
        in_json(f"PairAnnotation/{split}/*.json", moved("src_kps", 0, 0))(root)
        after = ids()
        assert after[0] == frozen
        assert after[1] not in (trained, before[1])
        before = after
    in_json("PairAnnotation/test/*.json", moved("src_kps", 0, 0))(root)
    after = ids()
    assert after[0] != frozen
    assert after[1] != before[1]


def test_an_image_counts_where_its_split_is_read(tmp_path: Path, weights: Path) -> None:
    root = write_lines(tmp_path / "photographs")
    desk = Desk(tmp_path, weights, {"": root})
    frozen, trained = (desk.plan(strategy=name, dataset="lines").run_id for name in ("frozen", "lora"))
    flip(root / "trn-b.png")
    assert desk.plan(dataset="lines").run_id == frozen
    assert desk.plan(strategy="lora", dataset="lines").run_id != trained
    (root / "nobody's.png").touch()
    assert desk.plan(dataset="lines").run_id == frozen


def test_what_an_annotation_says_besides_does_not_count(tmp_path: Path, weights: Path) -> None:
    """Licences, areas, indentation: the file is another, what is read is not."""
    root = write_coco(tmp_path / "photographs")
    desk = Desk(tmp_path, weights, {"": root})
    before = desk.plan(dataset="coco").run_id
    path = root / "annotations" / "test.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["licenses"] = [{"id": 1}]
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    assert desk.plan(dataset="coco").run_id == before
    path.rename(root / "annotations" / "keypoints_test.json")
    named = "dataset.annotations=annotations/keypoints_{split}.json"
    assert desk.plan(named, dataset="coco").run_id == before


def test_each_dataset_is_named_in_what_changed(tmp_path: Path, weights: Path) -> None:
    """Trained on one, tested on another: the split that changed is said by its dataset's name."""
    roots = {
        "pairs": write_folder(tmp_path / "photographs"),
        "coco": write_coco(tmp_path / "birds", ("test",)),
    }
    desk = Desk(tmp_path, weights, roots)

    def plan() -> Plan:
        return desk.plan("training.steps=4", strategy="lora", dataset="pairs", eval_on=["pairs", "coco"])

    before = plan()
    record = desk.measured(before)
    assert {name for name in before.ingredients if not name.startswith("plugin ")} == {
        "weights",
        *(f"{what} dataset/{split}" for what in ("annotation", "images") for split in ("trn", "val", "test")),
        "annotation eval_on.0/test",
        "images eval_on.0/test",
    }
    flip(roots["coco"] / "images" / f"{1:012d}.jpg")
    in_json("PairAnnotation/val/*.json", moved("trg_kps", 0, 1))(roots["pairs"])
    assert desk.said(plan()) == [
        "annotation of photographs/val, images of birds/test changed since 12.34 was measured "
        f"({record.run_id})."
    ]


def test_categories_of_val_alone_are_part_of_what_is_held_out(tmp_path: Path, weights: Path) -> None:
    """An untrained run reads no val split, but what is selected on there is not scored as unseen."""
    desk = Desk(tmp_path, weights, {"coco": write_coco(tmp_path / "birds")})
    ids = []
    for name in ("bird", "owl"):
        content = coco_content()
        content["categories"][0]["name"] = name
        write_json(tmp_path / "birds" / "annotations" / "val.json", content)
        ids.append(desk.plan('dataset.hold_out={"keypoints": ["crown"]}', dataset="coco").run_id)
    assert ids[0] != ids[1]


def test_two_test_sets_of_one_name_are_refused(tmp_path: Path, weights: Path) -> None:
    """Scores, leakage and tracking are by name: the later one would take the place of the earlier one."""
    roots = {
        "pairs": write_folder(tmp_path / "a" / "birds"),
        "coco": write_coco(tmp_path / "b" / "birds", ("test",)),
        "tapvid_davis": write_videos(tmp_path / "videos"),
    }
    desk = Desk(tmp_path, weights, roots)
    lower = {"name": "tapvid_davis", "occlusion_threshold": 0.4}
    for first, other, name in (("pairs", "coco", "birds"), ("tapvid_davis", lower, "tapvid_davis-first")):
        for sections in (
            {"dataset": first, "eval_on": [other]},
            {"dataset": "synthetic", "eval_on": [first, other]},
        ):
            with pytest.raises(PeftCorrError, match=f"^Two of the test sets are named '{name}'.*two runs.$"):
                desk.plan(**sections)
    assert len(desk.plan(dataset="pairs", eval_on=["tapvid_davis", "tapvid_davis"]).tested) == 2


def test_the_threshold_chosen_on_val_reads_it(tmp_path: Path, weights: Path) -> None:
    root = write_videos(tmp_path / "videos")
    videos = {f"other-{name}": make_video(10 + name) for name in range(2)}
    (root / "tapvid_val.pkl").write_bytes(pickle.dumps(videos))
    desk = Desk(tmp_path, weights, {"": root})

    def ids() -> list[str]:
        chosen = "dataset.occlusion_threshold=val"
        return [desk.plan(dataset="tapvid_davis").run_id, desk.plan(chosen, dataset="tapvid_davis").run_id]

    before = ids()
    move_a_track(videos["other-0"])
    (root / "tapvid_val.pkl").write_bytes(pickle.dumps(videos))
    after = ids()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_run_says_why_it_is_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], commands: Any
) -> None:
    """By the command line: done before, until a keypoint moves."""
    assert commands.run("--strategy", "frozen") == 0
    [record] = commands.records()
    capsys.readouterr()
    in_json("PairAnnotation/test/*.json", moved("src_kps", 0, 0))(commands.photographs)
    assert commands.run("--strategy", "frozen") == 0
    said = " ".join(capsys.readouterr().out.split())
    score = f"{record.scores['photographs/test']['argmax'].per_keypoint['0.1']:.2f}"
    assert f"annotation of photographs/test changed since {score} was measured ({record.run_id})." in said
    assert len(commands.records()) == 2
    assert os.path.exists(commands.store.predictions_path(record.run_id))
