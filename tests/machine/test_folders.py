from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from peftcorr.errors import PeftCorrError
from peftcorr.machine.folders import Place, require_room, temporary_place


def place(path: Path) -> Place:
    return Place("output folder", path, "choose another --output")


def test_a_probe_makes_nothing(tmp_path: Path) -> None:
    place(tmp_path / "new" / "folder").require_writable()
    place(tmp_path).require_writable()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        PeftCorrError, match=r"output folder .*file: Not a directory\. .* choose another --output"
    ):
        place(tmp_path / "file").require_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PeftCorrError, match="Permission denied"):
            place(tmp_path / "new").require_writable()
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_refused_though_a_file_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PeftCorrError, match="No space left on device"):
        place(tmp_path).require_writable()


def test_room_is_asked_of_each_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    one, other = place(tmp_path / "one"), Place("cache folder", tmp_path / "other", "choose another")
    require_room([(one, 600_000), (other, 400_000)])
    with pytest.raises(PeftCorrError, match=r"output folder .*one has 1\.00 MB free, but about 1\.10 MB"):
        require_room([(one, 600_000), (other, 500_000)])
    monkeypatch.setattr(Place, "disk", lambda place: hash(place.what))
    require_room([(one, 600_000), (other, 500_000)])


def test_the_temporary_folder_is_the_one_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python goes elsewhere without a word where it cannot write there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    assert temporary_place().path == tmp_path / "nowhere"
