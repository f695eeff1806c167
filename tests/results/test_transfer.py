"""A run's files between two output folders: all of them as they were, or none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.results.store import Store
from peftcorr.results.transfer import packed, packed_state, unpack
from peftcorr.results.verify import WHOLE, verify
from tests.results.left_behind import leave_run, leave_state


@pytest.fixture
def there(tmp_path: Path) -> Store:
    return Store(tmp_path / "there")


@pytest.fixture
def here(tmp_path: Path) -> Store:
    return Store(tmp_path / "here")


def files(store: Store) -> dict[str, str]:
    """Digest of each file of an output folder, hidden ones too."""
    found = (path for path in store.root.rglob("*") if path.is_file())
    return {
        path.relative_to(store.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
    }


def test_a_run_comes_as_it_was_and_its_state_is_dropped(there: Store, here: Store) -> None:
    run_id = leave_run(there.root)
    leave_run(there.root, seed=1)
    parcel = packed(there, run_id)
    leave_state(here.root, run_id)
    unpack(here, run_id, parcel)
    assert files(here) == {name: value for name, value in files(there).items() if run_id in name}
    assert len(files(here)) == 5
    assert {one.state for one in verify(here.root)} == {WHOLE}
    unpack(here, run_id, parcel)  # over what stands there
    assert {one.state for one in verify(here.root)} == {WHOLE}


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("records", "changed"),
        *(
            (what, how)
            for what in ("predictions", "adapters", "adapter_model")
            for how in ("changed", "missing")
        ),
    ],
)
def test_what_is_not_whole_is_not_written(there: Store, here: Store, what: str, how: str) -> None:
    run_id = leave_run(there.root)
    parcel = packed(there, run_id)
    name = next(name for name in parcel if what in name)
    content = parcel.pop(name)
    if how == "changed":
        parcel[name] = content.replace(b"0", b"1", 1) + b" "
    with pytest.raises(PeftCorrError, match=r"did not come whole|no valid record"):
        unpack(here, run_id, parcel)
    assert files(here) == {}


def test_a_state_comes_beside_earlier_ones(there: Store, here: Store) -> None:
    run_id = "0123456789abcdef"
    state = leave_state(there.root, run_id)
    (state.parent / ".writing-00000003").mkdir()
    (state.parent / ".writing-00000003" / "half").write_bytes(b"")
    parcel = packed_state(there, run_id)
    assert len(parcel) == 5
    assert packed(there, run_id) == parcel
    earlier = here.state_path(run_id) / "step-00000001"
    earlier.mkdir(parents=True)
    unpack(here, run_id, parcel)
    unpack(here, run_id, parcel)
    assert set(files(here)) == set(parcel)
    assert earlier.is_dir()
    assert here.can_resume(run_id)
    damaged = {name: content + b"1" if "best" in name else content for name, content in parcel.items()}
    with pytest.raises(PeftCorrError, match=r"did not come whole \(best.safetensors"):
        unpack(here, run_id, damaged)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "records/{other}.json",
        "state/{id}/../../x",
        "adapters/{id}/../../../x",
        "/tmp/x",
        "state/x/y",
    ],
)
def test_a_file_of_another_is_refused(there: Store, here: Store, name: str) -> None:
    run_id = leave_run(there.root)
    name = name.format(id=run_id, other="f" * 16)
    with pytest.raises(PeftCorrError, match="came with a file that is not its own"):
        unpack(here, run_id, {**packed(there, run_id), name: b""})
    assert files(here) == {}
    assert sorted(path.name for path in here.root.parent.iterdir()) == ["here", "there"]


def test_a_failure_does_not_take_the_place_of_a_whole_run(there: Store, here: Store) -> None:
    run_id = leave_run(there.root)
    leave_run(here.root)
    record = there.read(run_id)
    assert record is not None
    failed = record.model_copy(update={"status": "failed", "error": "it broke", "files": {}})
    there.write(failed)
    parcel = {f"records/{run_id}.json": packed(there, run_id)[f"records/{run_id}.json"]}
    unpack(here, run_id, parcel)
    assert here.is_whole(run_id)
    here.record_path(run_id).unlink()
    unpack(here, run_id, parcel)
    assert here.read(run_id) == failed
