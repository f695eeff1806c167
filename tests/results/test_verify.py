"""What becomes of every file below an output folder: whole, changed, missing, foreign, or not told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.results.store import Store
from peftcorr.results.verify import verify
from tests.results.left_behind import leave_choice, leave_run, leave_state


@pytest.fixture
def run_id(tmp_path: Path) -> str:
    """Of a run whose files, with those of another and of a stopped one, are all there is."""
    leave_run(tmp_path, seed=1)
    leave_state(tmp_path, "0123456789abcdef")
    leave_choice(tmp_path)
    return leave_run(tmp_path, seed=0)


def states(root: Path) -> dict[str, str]:
    """State of what is not whole, by name; every name stands there once."""
    found = verify(root)
    assert len({one.name for one in found}) == len(found)
    return {one.name: one.state for one in found if one.state != "whole"}


def files_of(run_id: str) -> list[str]:
    return [f"predictions/{run_id}.parquet", f"adapters/{run_id}.safetensors", f"adapters/{run_id}"]


def test_every_file_of_a_folder_is_whole(tmp_path: Path, run_id: str) -> None:
    (tmp_path / "README.md").write_text("the leaderboard", encoding="utf-8")
    (tmp_path / "predictions" / ".half.parquet").write_bytes(b"left by a killed process")
    assert states(tmp_path) == {}
    assert {one.name for one in verify(tmp_path)} > {
        f"records/{run_id}.json",
        *files_of(run_id),
        "state/0123456789abcdef/step-00000002",
        "state/0123456789abcdef/search.json",
        "predictors/tiny-tiny-224px.json",
    }
    assert len(verify(tmp_path)) == 2 * 4 + 3


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("predictions/{id}.parquet", "predictions/{id}.parquet"),
        ("adapters/{id}.safetensors", "adapters/{id}.safetensors"),
        ("adapters/{id}/adapter_config.json", "adapters/{id}"),
        ("adapters/{id}/adapter_model.safetensors", "adapters/{id}"),
        ("state/0123456789abcdef/step-00000002/best.safetensors", "state/0123456789abcdef/step-00000002"),
        ("state/0123456789abcdef/step-00000002/manifest.json", "state/0123456789abcdef/step-00000002"),
        ("state/0123456789abcdef/search.json", "state/0123456789abcdef/search.json"),
        ("predictors/tiny-tiny-224px.json", "predictors/tiny-tiny-224px.json"),
    ],
)
def test_one_byte_names_its_file_and_no_other(tmp_path: Path, run_id: str, file: str, name: str) -> None:
    path = tmp_path / file.format(id=run_id)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert states(tmp_path) == {name.format(id=run_id): "changed"}


def test_files_of_a_changed_record_are_neither_whole_nor_foreign(tmp_path: Path, run_id: str) -> None:
    path = Store(tmp_path).record_path(run_id)
    path.write_text(path.read_text(encoding="utf-8").replace('"lora"', '"full"'), encoding="utf-8")
    assert states(tmp_path) == {
        f"records/{run_id}.json": "changed",
        **dict.fromkeys(files_of(run_id), "unsealed"),
    }


def test_what_is_gone_is_missing(tmp_path: Path, run_id: str) -> None:
    store = Store(tmp_path)
    store.predictions_path(run_id).unlink()
    store.adapter_path(run_id).unlink()
    shutil.rmtree(store.peft_path(run_id))
    assert states(tmp_path) == dict.fromkeys(files_of(run_id), "missing")


def test_a_file_taken_out_of_a_sealed_folder_or_put_in_changes_it(tmp_path: Path, run_id: str) -> None:
    (Store(tmp_path).peft_path(run_id) / "README.md").write_text("a card", encoding="utf-8")
    (Store(tmp_path).state_path("0123456789abcdef") / "step-00000002" / "best.safetensors").unlink()
    found = {one.name: one.why for one in verify(tmp_path) if one.state == "changed"}
    assert found.keys() == {f"adapters/{run_id}", "state/0123456789abcdef/step-00000002"}
    assert "best.safetensors" in found["state/0123456789abcdef/step-00000002"]


def test_what_no_run_left_is_foreign(tmp_path: Path, run_id: str) -> None:
    foreign = ["records/notes.txt", "predictions/other.parquet", "adapters/other", "predictors/mine.yaml"]
    for name in foreign:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    assert states(tmp_path) == dict.fromkeys(foreign, "foreign")


def test_a_renamed_record_and_a_copied_one_are_changed(tmp_path: Path, run_id: str) -> None:
    store = Store(tmp_path)
    shutil.copy(store.record_path(run_id), store.record_path("feedfeedfeedfeed"))
    assert states(tmp_path) == {"records/feedfeedfeedfeed.json": "changed"}
    store.record_path(run_id).unlink()
    assert states(tmp_path) == {
        "records/feedfeedfeedfeed.json": "changed",
        **dict.fromkeys(files_of(run_id), "foreign"),
    }


@pytest.mark.parametrize("change", ["recipe", "ingredients"])
def test_another_recipe_or_ingredient_needs_another_name(tmp_path: Path, run_id: str, change: str) -> None:
    """Even with a seal that fits: the id is a hash of both."""
    store = Store(tmp_path)
    record = store.read(run_id)
    assert record is not None
    store.write(record.model_copy(update={change: {"seed": "7"}}))
    assert states(tmp_path)[f"records/{run_id}.json"] == "changed"


def test_records_of_version_1_are_not_sealed(tmp_path: Path) -> None:
    run_id = leave_run(tmp_path, version=1)
    path = Store(tmp_path).record_path(run_id)
    bare = json.loads(path.read_text(encoding="utf-8"))
    del bare["seal"]  # as they were written
    path.write_text(json.dumps(bare), encoding="utf-8")
    assert states(tmp_path) == {
        f"records/{run_id}.json": "unsealed",
        **dict.fromkeys(files_of(run_id), "unsealed"),
    }
    path.rename(path.with_name("another.json"))
    assert states(tmp_path)["records/another.json"] == "changed"


def test_a_folder_is_needed(tmp_path: Path) -> None:
    assert verify(tmp_path) == []
    with pytest.raises(PeftCorrError, match="There is no folder"):
        verify(tmp_path / "none")
