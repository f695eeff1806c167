"""From a labelling tool's export to a score: split, check, five steps of training, without a file written by hand."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from peftcorr.cli import main
from tests.commanding import Commands
from tests.labelled_exports import (
    write_coco_annotator,
    write_cvat,
    write_deeplabcut,
    write_label_studio,
    write_roboflow,
)

STEPS = ("training.steps=5", "training.images=3", "training.validate_every=5")

EXPORTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "CVAT": (write_cvat, "coco"),
    "Label Studio": (write_label_studio, "coco"),
    "Roboflow": (write_roboflow, "coco"),
    "COCO Annotator": (write_coco_annotator, "coco"),
    "DeepLabCut": (lambda root: write_deeplabcut(root, 3, 4), "points"),
}


@pytest.mark.parametrize(("write", "dataset"), EXPORTS.values(), ids=EXPORTS.keys())
def test_an_export_is_divided_checked_trained_on_and_scored(
    commands: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path], Path],
    dataset: str,
) -> None:
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    root = write(tmp_path / "our mice")
    assert main(["data", "split", str(root), "--val", "0.2", "--test", "0.2"]) == 0
    check, run = (shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines()[-2:])
    assert (check[:3], run[:3]) == (["data", "check", dataset], ["run", "--dataset", dataset])

    assert main([*check, "--picture", str(tmp_path / "sheet.png")]) == 0
    out = capsys.readouterr().out
    assert {line.split()[0] for line in out.splitlines() if line[:4] in ("trn ", "val ", "test")} >= {
        "trn",
        "val",
    }
    assert "Everything could be read" in out
    assert (tmp_path / "sheet.png").stat().st_size > 10_000

    options = run[run.index("--set") + 1 :] if "--set" in run else []
    given = ["--dataset", dataset, "--data-root", f"{dataset}={root}"]
    assert commands.run(*given, "--strategy", "last_k", assignments=[*STEPS, *options]) == 0
    made_up = "s is the longer side of the box round" in capsys.readouterr().out
    assert made_up == (write not in (write_cvat, write_label_studio, write_roboflow)), "a run says so too"
    record = commands.record()
    assert (record.status, record.dataset) == ("ok", "our mice")
    scores = record.scores["our mice/test"]["argmax"]
    assert scores.n_pairs == 6, "all ordered pairs of three images"
    assert 0 <= scores.per_keypoint["0.1"] <= 100
