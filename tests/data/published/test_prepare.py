"""From published archives to a dataset's folder, which is there whole or not at all."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from peftcorr.console.progress import Progress
from peftcorr.data.published.catalogue import CATALOGUE, Bound, Published, published
from peftcorr.data.published.prepare import prepare
from peftcorr.errors import PeftCorrError
from tests.file_server import Server, serving
from tests.published_archives import spair_archive, willow_archive

SPAIR = published("spair71k")


def get(
    dataset: Published, folder: Path, given: list[Path], pinned: list[str] | None = None
) -> tuple[bool, str]:
    """Prepare, and what was printed."""
    printed = io.StringIO()
    console = Console(file=printed, width=1000)
    return prepare(dataset, folder, given, pinned or [], Progress(console)), printed.getvalue()


def left(folder: Path) -> list[str]:
    """What there is, but for locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@contextmanager
def served(dataset: Published, content: bytes) -> Iterator[tuple[Published, Server]]:
    """The dataset as if its first archive were published on this machine."""
    with serving(content) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        first, *others = dataset.archives
        yield replace(dataset, archives=(replace(first, address=server.address), *others)), server


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "make", "file"),
    [
        ("spair71k", spair_archive, "SPair-71k/Layout/small/test.txt"),
        ("pf_willow", willow_archive, "PF-dataset/winebottle(woC)/winebottle_009.mat"),
    ],
)
def test_a_given_archive(name: str, make: Callable[[Path], Path], file: str, tmp_path: Path) -> None:
    archive = make(tmp_path)
    (tmp_path / "sets").mkdir()
    new, printed = get(published(name), tmp_path / "sets" / name, [archive])
    assert new
    assert sha256(archive) in printed
    assert (tmp_path / "sets" / name / file).is_file()
    assert left(tmp_path / "sets") == [name], "a temporary folder"
    assert not get(published(name), tmp_path / "sets" / name, [tmp_path / "nowhere"])[0], "done again"


def test_what_must_be_there_is_what_the_loaders_read(tmp_path: Path) -> None:
    for name, dataset in CATALOGUE.items():
        assert name == dataset.name
        assert dataset.page.startswith("https://")
        placed = [(archive.placed or archive.folder or "").split("/")[0] for archive in dataset.archives]
        assert {need.split("/")[0] for need in dataset.needs} == set(placed)
        assert all(
            archive.address is None or archive.address.endswith(archive.file) for archive in dataset.archives
        )


def make_zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return path


def test_two_archives_make_one_folder(tmp_path: Path) -> None:
    """PF-Pascal's lists of pairs are published apart, in a folder of another name."""
    folders = ("PF-dataset-PASCAL/JPEGImages/1.jpg", "PF-dataset-PASCAL/Annotations/cat/1.mat")
    lists = [f"pf-pascal_image_pairs/{split}_pairs.csv" for split in ("trn", "val", "test")]
    given = [make_zip(tmp_path / "a.zip", *folders), make_zip(tmp_path / "b.zip", *lists)]
    assert get(published("pf_pascal"), tmp_path / "pascal", given)[0]
    assert left(tmp_path / "pascal") == ["PF-dataset-PASCAL", "image_pairs"]
    with pytest.raises(
        PeftCorrError, match=r"--archive has 3 values, but pf_pascal is published as PF-dataset-P"
    ):
        get(published("pf_pascal"), tmp_path / "again", [*given, tmp_path])


def test_what_is_not_given_is_downloaded(tmp_path: Path) -> None:
    """AP-10K: people fetch the archive, the list of crowds has an address."""
    dataset = published("ap10k")
    first, second = dataset.archives
    archive = make_zip(tmp_path / "my.zip", "ap-10k/annotations/a.json", "ap-10k/data/1.jpg")
    with serving(b"000000022657\n") as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        dataset = replace(dataset, archives=(first, replace(second, address=server.address)))
        assert get(dataset, tmp_path / "sets" / "ap10k", [archive])[0]
    crowds = tmp_path / "sets" / "ap10k" / "ap-10k" / "ap-10k_is_crowd.txt"
    assert crowds.read_bytes() == b"000000022657\n"
    assert left(tmp_path / "sets") == ["ap-10k_is_crowd.txt.sha256", "ap10k"]
    assert get(dataset, tmp_path / "other", [archive, crowds])[0], "without a network"


def test_a_download_leaves_its_checksum_and_the_dataset(tmp_path: Path) -> None:
    archive = spair_archive(tmp_path)
    with served(SPAIR, archive.read_bytes()) as (dataset, _):
        new, printed = get(dataset, tmp_path / "sets" / "spair71k", [])
    assert new
    assert "trusted as the first download" in printed
    assert left(tmp_path / "sets") == ["SPair-71k.tar.gz.sha256", "spair71k"]
    record = (tmp_path / "sets" / "SPair-71k.tar.gz.sha256").read_text()
    assert record == f"{sha256(archive)}  SPair-71k.tar.gz\n"
    assert not SPAIR.lacking(tmp_path / "sets" / "spair71k")


def test_a_later_download_must_be_the_first_one(tmp_path: Path) -> None:
    archive = spair_archive(tmp_path)
    with served(SPAIR, archive.read_bytes()) as (dataset, server):
        get(dataset, tmp_path / "sets" / "one", [])
        with tarfile.open(archive, "w:gz", compresslevel=1) as other:
            other.add(tmp_path / "made" / "SPair-71k", "SPair-71k")
        server.content = archive.read_bytes()
        with pytest.raises(
            PeftCorrError, match=r"but the first download had .* delete .*tar.gz.sha256 if you trust"
        ):
            get(dataset, tmp_path / "sets" / "two", [])
        assert left(tmp_path / "sets") == ["SPair-71k.tar.gz.sha256", "one"]
        assert get(dataset, tmp_path / "sets" / "two", [], [sha256(archive).upper()])[0], "--sha256 decides"


def test_half_a_download_is_gone_on_with(tmp_path: Path) -> None:
    archive = spair_archive(tmp_path)
    folder = tmp_path / "sets" / "spair71k"
    with served(SPAIR, archive.read_bytes()) as (dataset, server):
        server.stop_after = 2000
        with pytest.raises(PeftCorrError, match="the same command goes on"):
            get(dataset, folder, [])
        assert not folder.exists()
        server.stop_after = None
        assert get(dataset, folder, [])[0]
        assert server.asked[-1]["Range"] == "bytes=2000-"


@pytest.mark.parametrize("given", [True, False])
def test_a_wrong_checksum(given: bool, tmp_path: Path) -> None:
    archive = spair_archive(tmp_path)
    with (
        served(SPAIR, archive.read_bytes()) as (dataset, _),
        pytest.raises(
            PeftCorrError, match=f"{sha256(archive)} where it must be|{sha256(archive)} where it must have"
        ),
    ):
        get(dataset, tmp_path / "sets" / "spair71k", [archive] if given else [], ["0" * 64])
    assert left(tmp_path / "sets") == []
    assert archive.is_file(), "a file of the user's own"


def hostile(name: str, path: Path) -> Path:
    """An archive that holds all of SPair-71k, and something else last."""
    spair_archive(path.parent)
    last = tarfile.TarInfo("SPair-71k/last")
    if name == "traversal":
        last.name = "SPair-71k/../../../evil"
    elif name == "absolute":
        last.name = f"{path.parent}/evil"
    elif name in ("symlink", "hard link"):
        last.type = tarfile.SYMTYPE if name == "symlink" else tarfile.LNKTYPE
        last.linkname = str(path.parent / "secret")
    elif name == "bomb":
        last.size = 5 << 20
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(path.parent / "made" / "SPair-71k", "SPair-71k")
        archive.addfile(last, io.BytesIO(bytes(last.size)))
    if name == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    elif name == "no archive":
        path.write_bytes(b"<html>Sign in to this network</html>")
    elif name == "another archive":
        with tarfile.open(path, "w:gz") as archive:
            archive.add(__file__, "SPair-71k/Layout")
    return path


HOSTILE = {
    "traversal": "outside the folder", "absolute": "outside the folder", "symlink": "a link or a device",
    "hard link": "a link or a device", "bomb": "more than 1000000 bytes", "truncated": "no whole",
    "no archive": "no whole", "another archive": "has no SPair-71k/JPEGImages",
}  # fmt: skip


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_leave_nothing(name: str, given: bool, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    archive = hostile(name, tmp_path / "hostile.tar.gz")
    (tmp_path / "sets").mkdir()
    before = sorted(path for path in tmp_path.rglob("*"))
    with (
        served(replace(SPAIR, bound=Bound(1_000_000, SPAIR.bound.members)), archive.read_bytes()) as (
            dataset,
            _,
        ),
        pytest.raises(PeftCorrError, match=HOSTILE[name]) as caught,
    ):
        get(dataset, tmp_path / "sets" / "spair71k", [archive] if given else [])
    assert not re.search(r"\n|\. \S", str(caught.value)), "more than one sentence"
    after = sorted(path for path in tmp_path.rglob("*") if path.suffix != ".lock")
    assert after == before
    assert (tmp_path / "secret").read_text() == "mine"


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    archive = spair_archive(tmp_path)
    (tmp_path / "sets" / ".spair71k.making-1234" / "SPair-71k").mkdir(parents=True)
    (tmp_path / "sets" / ".other.making-1234").mkdir()
    get(SPAIR, tmp_path / "sets" / "spair71k", [archive])
    assert left(tmp_path / "sets") == [".other.making-1234", "spair71k"]


def test_an_empty_folder_is_taken_and_another_is_left_alone(tmp_path: Path) -> None:
    archive = spair_archive(tmp_path)
    (tmp_path / "empty").mkdir()
    assert get(SPAIR, tmp_path / "empty", [archive])[0]
    assert oct((tmp_path / "empty").stat().st_mode & 0o777) == "0o755"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    with pytest.raises(PeftCorrError, match="mine is no empty folder and has no SPair-71k/JPEGImages"):
        get(SPAIR, tmp_path / "mine", [archive])
    assert left(tmp_path / "mine") == ["notes"]


def test_what_only_people_can_download(tmp_path: Path) -> None:
    with pytest.raises(
        PeftCorrError, match=r"fetch ap-10k\.zip by hand from https://github\.com/AlexTheBad/AP-10K"
    ):
        get(published("ap10k"), tmp_path / "ap10k", [])


def test_a_pin_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match="--sha256 abc is no SHA-256"):
        get(SPAIR, tmp_path / "spair71k", [], ["abc"])


def test_an_unknown_dataset() -> None:
    with pytest.raises(PeftCorrError, match=r"'spair71' is known. Did you mean 'spair71k'"):
        published("spair71")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PeftCorrError, match=r"Cannot write .*file: "):
        get(SPAIR, tmp_path / "file" / "spair71k", [spair_archive(tmp_path)])
