from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.files import atomic_path
from peftcorr.results.record import Record
from peftcorr.results.store import Store, read_record


def record(**change: Any) -> Record:
    values: dict[str, Any] = {
        "schema_version": 1,
        "run_id": "lora-1",
        "status": "ok",
        "recipe": {"seed": 0},
        "strategy": "lora",
        "backbone": "tiny",
        "weights_id": "tiny",
        "weights_sha256": None,
        "official_weights": True,
        "dataset": "synthetic",
        "seed": 0,
    }
    return Record.model_validate({**values, **change})


def test_a_record_of_one_line_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.write(record(error="a\nb ü"))
    assert store.read("lora-1") == record(error="a\nb ü")
    assert store.read("lora-2") is None
    assert store.records() == [record(error="a\nb ü")]
    assert path.read_text(encoding="utf-8").count("\n") == 1
    assert path.read_text(encoding="utf-8").endswith("}\n")


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "where", ["pathlib.Path.write_text", "os.fsync", "pathlib.Path.replace", "tempfile.mkstemp"]
)
def test_a_full_disk_keeps_the_old_record_and_leaves_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    store = Store(tmp_path)
    before = store.write(record()).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(where, full_disk)
        with pytest.raises(PeftCorrError, match=r"Cannot write .*lora-1\.json: No space left on device"):
            store.write(record(seed=1))
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["lora-1.json"]
    assert store.record_path("lora-1").read_bytes() == before


def test_an_error_of_the_writer_keeps_the_old_file_too(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyError("mid-way")

    with pytest.raises(KeyError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_text() == "old"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PeftCorrError, match="Cannot write"):
        Store(tmp_path / "file").write(record())


def scored(**per_keypoint: Any) -> dict[str, Any]:
    pck = {"per_keypoint": per_keypoint or {"0.1": 50.0}, "per_image": {"0.1": 50.0}}
    return {
        "a/test": {
            "argmax": {**pck, "per_category": {}, "category_mean": pck, "n_pairs": 1, "n_keypoints": 1}
        }
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": "zero"}, "seed"),
        ({"status": "done"}, "status"),
        ({"schema_version": 3}, "seal"),
        ({"surprise": 1}, "surprise"),
        ({"scores": scored(**{"0.1": None})}, "per_keypoint"),
        ({"scores": scored(**{"0.1": 140.0})}, "per_keypoint"),
        ({"scores": scored(**{"a tenth": 40.0})}, "per_keypoint"),
    ],
)
def test_a_malformed_record_is_named_with_its_field(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**record().model_dump(), **change}))
    with pytest.raises(
        PeftCorrError, match=rf"bad\.json is no valid record \(.*{problem}.*\): delete it and run it again"
    ):
        read_record(path)


@pytest.mark.parametrize("content", [b"", b'{"run_id": "x', b"\xff\xfe", b"[]"])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, content: bytes) -> None:
    path = Store(tmp_path).record_path("bad")
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(PeftCorrError, match=r"bad\.json is no valid record") as caught:
        Store(tmp_path).records()
    assert "\n" not in str(caught.value)


def test_a_run_is_whole_with_its_predictions_and_can_be_resumed_from_a_state(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.is_whole("lora-1")
    store.write(record())
    assert not store.is_whole("lora-1"), "the record alone may have come with the repository"
    path = store.predictions_path("lora-1")
    path.parent.mkdir()
    path.touch()
    assert store.is_whole("lora-1")
    store.write(record(status="failed", error="it broke"))
    assert not store.is_whole("lora-1")
    assert not store.can_resume("lora-1")
    (store.state_path("lora-1") / ".writing-00000004").mkdir(parents=True)
    assert not store.can_resume("lora-1"), "half a state is none"
    (store.state_path("lora-1") / "step-00000004").mkdir()
    assert store.can_resume("lora-1")
