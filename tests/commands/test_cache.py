"""``peftcorr cache ls | clear`` on a cache folder made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peftcorr.cli import main
from peftcorr.commands.cache import entries


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "cache"))
    for folder, size in (
        ("features/aa", 3_000_000),
        ("pairs/farm-test-1/stamp", 2_000_000),
        ("synthetic/bb", 10),
    ):
        (tmp_path / "cache" / folder).mkdir(parents=True)
        (tmp_path / "cache" / folder / "content").write_bytes(b"0" * size)
    about = {"backbone": "Dinov2S14", "weights": "a name", "image_size": "224", "resize": "pad"}
    (tmp_path / "cache" / "features" / "aa" / "about.json").write_text(json.dumps(about))
    return tmp_path / "cache"


def test_ls_names_everything_with_its_size(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "ls"]) == 0
    text = capsys.readouterr().out
    assert "Dinov2S14, a name, 224 px pad" in text
    for word in ("3.0 MB", "farm-test-1", "2.0 MB", "rendered pictures", "5.0 MB", "10 B"):
        assert word in text


def test_ls_of_a_kind(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "ls", "pairs"]) == 0
    text = capsys.readouterr().out
    assert "farm-test-1" in text
    assert "Dinov2S14" not in text


def test_clear_of_a_kind_leaves_the_others(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "clear", "features"]) == 0
    assert "Deleted 1 entries of features, 3.0 MB" in capsys.readouterr().out
    assert [entry.kind for entry in entries(cache)] == ["pairs", "synthetic"]


def test_clear_deletes_what_peftcorr_wrote_and_nothing_else(cache: Path) -> None:
    (cache / "notes.txt").write_text("mine")
    assert main(["cache", "clear"]) == 0
    assert entries(cache) == []
    assert [path.name for path in cache.iterdir()] == ["notes.txt"]


def test_remembered_digests_are_listed_and_cleared(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file a folder of images, not a folder; locks are no entries."""
    (cache / "digests").mkdir()
    (cache / "digests" / "ab.json").write_bytes(b"0" * 7_000_000)
    (cache / "synthetic" / ".bb.lock").touch()
    assert [(entry.kind, entry.bytes) for entry in entries(cache)][-2:] == [
        ("synthetic", 10),
        ("digests", 7_000_000),
    ]
    assert main(["cache", "clear", "digests"]) == 0
    assert "Deleted 1 entries of digests, 7.0 MB" in capsys.readouterr().out
    assert not (cache / "digests").exists()
    assert len(entries(cache)) == 3


def test_an_unknown_kind_and_an_empty_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path / "nothing"))
    assert main(["cache", "clear", "feature"]) == 2
    assert "no kind 'feature'" in capsys.readouterr().err
    assert main(["cache", "ls"]) == 0
    assert main(["cache", "clear"]) == 0


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 512 << 20), ("2GB", 2 * 10**9), ("1.5 kB", 1500), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    from peftcorr.console.numbers import parse_bytes

    assert parse_bytes(text) == size


def test_a_size_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--memory", "lots"])
    assert caught.value.code == 2
    assert "'lots' is no size" in capsys.readouterr().err
