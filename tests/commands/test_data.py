"""``peftcorr data``: from an archive in the published layout to a score, and what it says on the way."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState, GradientState
from PIL import Image

from peftcorr.cli import main
from peftcorr.data.published.catalogue import CATALOGUE, Figures
from peftcorr.results.record import Record
from peftcorr.results.store import Store
from tests.data.layouts.test_points import table, write
from tests.file_server import serving
from tests.published_archives import (
    ap10k_archives,
    davis_archive,
    davis_videos,
    pascal_archives,
    spair_archive,
    willow_archive,
)
from tests.published_layouts import ap10k_seen
from tests.small_folder import write_folder

SMALL = Figures(pairs=12, categories=2, images=6, keypoints=48)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache"


def evaluate(name: str, output: Path, *more: str, recorded: str | None = None) -> Record:
    """Score the frozen embedded backbone on a few pairs, as a user would."""
    command = ["run", "--strategy", "frozen", "--backbone", "tiny", "--dataset", name, "--image-size", "112"]
    assert main([*command, "--limit-pairs", "6", "--output", str(output), *more]) == 0
    [record] = Store(output).records()
    assert (record.status, record.dataset) == ("ok", recorded or name)
    [by_predictor] = record.scores.values()
    assert 0 <= by_predictor["argmax"].per_keypoint["0.1"] <= 100
    return record


def row(text: str, split: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"{split} ")]
    return re.split(" {2,}", line.strip())


def test_willow_from_its_archive_to_a_score(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = willow_archive(tmp_path)
    assert main(["data", "prepare", "pf_willow", "--archive", str(archive)]) == 0
    out = capsys.readouterr().out
    assert f"--data-root pf_willow={cache / 'datasets' / 'pf_willow'}; runs find it without, too" in out
    assert main(["data", "check", "pf_willow"]) == 0
    out = capsys.readouterr().out
    assert row(out, "test") == [
        "test", "900 = 900 published", "10 = 10 published", "100 = 100 published", "9,000 = 9,000 published",
        "0", "0",
    ]  # fmt: skip
    assert "Everything could be read, and the figures are those published." in out
    evaluate("pf_willow", tmp_path / "out")


def test_spair_from_its_address_to_a_score(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = spair_archive(tmp_path)
    folder = tmp_path / "sets" / "spair"
    official = CATALOGUE["spair71k"]
    with serving(archive.read_bytes()) as server:
        [first] = official.archives
        here = replace(official, archives=(replace(first, address=server.address),))
        monkeypatch.setitem(CATALOGUE, "spair71k", here)
        assert main(["data", "prepare", "spair71k", "--data-root", str(folder)]) == 0
    assert f"--data-root spair71k={folder}\n" in capsys.readouterr().out

    assert main(["data", "check", "spair71k", "--data-root", str(folder)]) == 1
    out = capsys.readouterr().out
    assert row(out, "trn")[1:4] == ["12 ≠ 53,340 published", "2 ≠ 18 published", "6 ≠ 997 published"]
    assert "Everything could be read, but the figures are not those published." in out

    small = dict.fromkeys(("trn", "val", "test"), SMALL)
    monkeypatch.setitem(CATALOGUE, "spair71k", replace(here, splits=small))
    assert main(["data", "check", "spair71k", "--data-root", str(folder)]) == 0
    assert row(capsys.readouterr().out, "val")[4:] == ["48 = 48 published", "0", "0"]

    assert (
        main(["run", "--strategy", "frozen", "--dataset", "spair71k", "--output", str(tmp_path / "o")]) == 2
    )
    err = capsys.readouterr().err
    assert "give --data-root spair71k=PATH, or have it made by peftcorr data prepare spair71k." in err
    evaluate("spair71k", tmp_path / "out", "--data-root", f"spair71k={folder}")


def test_pascal_from_its_two_archives_to_a_score(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = [str(path) for path in pascal_archives(tmp_path)]
    assert main(["data", "prepare", "pf_pascal", "--archive", *archives]) == 0
    capsys.readouterr()
    assert main(["data", "check", "pf_pascal"]) == 0
    out = capsys.readouterr().out
    assert row(out, "trn") == ["trn", "400", "20", "100", "2,000", "0", "0"]
    assert row(out, "val") == ["val", "308 = 308 published", "20", "100", "1,540", "0", "0"]
    assert row(out, "test") == ["test", "299 = 299 published", "20", "100", "1,495", "0", "0"]
    assert "Everything could be read, and the figures are those published." in out
    scores = evaluate("pf_pascal", tmp_path / "out").scores["pf_pascal/test"]["argmax"]
    assert (scores.n_pairs, scores.n_keypoints) == (6, 30)
    by_box = ("--set", "dataset.threshold=box")
    evaluate("pf_pascal", tmp_path / "boxes", *by_box, recorded="pf_pascal-box")


def test_ap10k_from_its_archive_and_crowd_list_to_a_score(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """54 antelopes, 32 sheep, 31 foxes, 3 dogs and 4 elephants with successive ids; the last is in a crowd."""
    archives = [str(path) for path in ap10k_archives(tmp_path, crowd=124)]
    assert main(["data", "prepare", "ap10k", "--archive", *archives]) == 0
    capsys.readouterr()
    assert main(["data", "check", "ap10k"]) == 0
    out = capsys.readouterr().out
    assert "Everything could be read; there are no published figures to compare with." in out
    species = {
        "trn": [range(1, 5)],
        "val": [range(5, 25), range(55, 57)],
        "test": [range(25, 55), range(57, 87), range(88, 118), range(118, 121), range(121, 124)],
    }
    for split, images in species.items():
        pairs = [pair for part in images for pair in itertools.combinations(part, 2)]
        shared = sum(len({*ap10k_seen(one)} & {*ap10k_seen(other)}) for one, other in pairs)
        numbers = (len(pairs), len(images), sum(map(len, images)), shared, 0, 0)
        assert row(out, split) == [split, *(f"{number:,}" for number in numbers)]
    scores = evaluate("ap10k", tmp_path / "out").scores["ap10k/test"]["argmax"]
    assert scores.n_pairs == 6


def test_davis_from_its_archive_to_a_score(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "prepare", "tapvid_davis", "--archive", str(davis_archive(tmp_path))]) == 0
    capsys.readouterr()
    assert main(["data", "check", "tapvid_davis"]) == 0
    out = capsys.readouterr().out
    pairs, images, points = set(), set(), 0
    for name, video in davis_videos().items():
        for hidden in video["occluded"]:
            first = int(np.argmin(hidden))
            for frame in [] if hidden.all() else range(first + 1, len(hidden)):
                pairs.add((name, first, frame))
                images |= {(name, first), (name, frame)}
                points += 1
    assert row(out, "test") == [
        "test", str(len(pairs)), "30 = 30 published", str(len(images)), str(points), "0", "0",
    ]  # fmt: skip
    assert "Everything could be read, and the figures are those published." in out
    record = evaluate("tapvid_davis", tmp_path / "out", recorded="tapvid_davis-first")
    tracking = record.tracking["tapvid_davis-first/test"]["argmax"]
    assert (tracking.n_pairs, len(tracking.per_video)) == (6, 6)
    assert 0 <= tracking.average_jaccard <= tracking.delta_avg <= 100


def test_check_of_damage(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "pf_willow", "--archive", str(willow_archive(tmp_path))]) == 0
    assert main(["data", "check", "pf_willow"]) == 0
    capsys.readouterr()
    images = sorted((cache / "datasets" / "pf_willow" / "PF-dataset").glob("*/*.png"))
    for image in images[:12]:
        image.write_bytes(b"no image")
    assert main(["data", "check", "pf_willow"]) == 1
    out = capsys.readouterr().out
    assert row(out, "test")[-2:] == ["0", "12"]
    assert out.count("cannot be decoded") == 10
    assert "test: and 2 more." in out
    assert "Not everything could be read, but the figures are those published." in out

    images[0].unlink()
    assert main(["data", "check", "pf_willow"]) == 1
    out = capsys.readouterr().out
    assert row(out, "test")[1] == "- ≠ 900 published"
    assert row(out, "test")[-2:] == ["-", "-"]
    assert "car_000.mat: no image of that name beside it" in out
    assert "Not everything could be read, and the figures are not those published." in out


def test_check_of_a_folder_of_ones_own(
    cache: Path, spair_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (spair_root / "Layout" / "large" / "val.txt").unlink()
    arguments = ["data", "check", "pairs", "--data-root", str(spair_root)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert row(out, "test") == ["test", "12", "2", "6", "48", "0", "0"]
    assert "there are no published figures to compare with" in out
    (spair_root / "Layout" / "large").rename(spair_root / "Layout" / "small")
    assert main(arguments) == 1, "no split"
    out = " ".join(capsys.readouterr().out.split())
    assert "has no split. Lists are" in out
    assert "Layout/small is there: --set dataset.layout=small." in out
    for text in ("dataset.layout=small", "layout=small"):
        assert main([*arguments, "--set", text]) == 0
    assert main([*arguments, "--set", "layot=small"]) == 2
    assert "layot" in capsys.readouterr().err


def test_check_draws_a_contact_sheet(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, picture = write_folder(tmp_path / "pets", 3), tmp_path / "pictures" / "sheet.png"
    arguments = ["data", "check", "pairs", "--data-root", str(root), "--picture", str(picture)]
    assert main(arguments) == 0
    assert f"{picture}: all 18 annotated images, the likeliest mistake first.\n" in capsys.readouterr().out
    with Image.open(picture) as sheet:
        assert (sheet.format, sheet.size) == ("PNG", (8 * 244 + 8, 3 * 278 + 8))
    (root / "Layout" / "large" / "val.txt").write_text("nothing\n", encoding="utf-8")
    assert main(arguments) == 1
    assert "all 12 annotated images" in capsys.readouterr().out
    assert main([*arguments[:-1], str(root)]) == 2
    assert f"Cannot write {root}: " in capsys.readouterr().err


def test_keypoints_that_no_run_takes_are_drawn(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "pets", table().replace("26.5,8", "260,8"))
    arguments = [
        "data",
        "check",
        "points",
        "--data-root",
        str(root),
        "--picture",
        str(tmp_path / "sheet.png"),
    ]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "keypoints lie outside of their images" in out
    assert "all 3 annotated images, the likeliest mistake first" in out


def test_a_split_that_is_not_there(cache: Path, spair_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (spair_root / "Layout" / "large" / "val.txt").unlink()
    assert main(["data", "check", "spair71k", "--data-root", str(spair_root)]) == 1
    out = capsys.readouterr().out
    assert row(out, "val")[1] == "- ≠ 5,384 published"
    assert "val: spair71k has no such split." in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("prepare", "ap10k"), "fetch ap-10k.zip by hand from https://github.com/AlexTheBad/AP-10K"),
        (("prepare", "synthetic"), "No archive of a dataset 'synthetic' is known. Known: ap10k, "),
        (("prepare", "spair71k", "--archive", "nowhere.tar.gz"), "Cannot read nowhere.tar.gz: No such file"),
        (
            ("prepare", "spair71k", "--archive", "a", "b"),
            "--archive has 2 values, but spair71k is published as SPair-71k",
        ),
        (("check", "spair71"), "Did you mean 'spair71k'?"),
        (("check", "spair71k"), "or have it made by peftcorr data prepare spair71k."),
        (("check", "pairs"), "give --data-root pairs=PATH."),
    ],
)
def test_what_cannot_be_done(
    cache: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert main(["data", *arguments]) == 2
    assert words in capsys.readouterr().err
