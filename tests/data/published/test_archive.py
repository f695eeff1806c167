"""What archives of others may do: fill one folder with plain files, up to a bound, and nothing else."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from peftcorr.data.published.archive import ArchiveRefused, unpack
from peftcorr.data.published.catalogue import Bound
from peftcorr.errors import PeftCorrError

BOUND = Bound(bytes=1_000_000, members=50)
OUTSIDE = (
    "../evil",
    "a/../../evil",
    "/{folder}/evil",
    "//evil",
    "a\\..\\..\\evil",
    "C:evil",
    "C:/evil",
    "..",
)


def tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def zipped(
    path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


Make = Callable[..., Path]
BOTH = pytest.mark.parametrize("make", [tar, zipped])


def refused(archive: Path, folder: Path, reason: str, bound: Bound = BOUND) -> None:
    """Unpacking is refused for that reason, in one sentence, and nothing beside the folder has changed."""
    folder.mkdir()
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(ArchiveRefused, match=reason) as caught:
        unpack(archive, folder, bound)
    text = str(caught.value)
    assert str(archive) in text
    assert "\n" not in text
    assert [path for path in sorted(folder.parent.rglob("*")) if folder not in path.parents] == before
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= bound.bytes


@pytest.mark.parametrize("make", [tar, zipped, lambda path, *members: tar(path, *members, mode="w")])
def test_files_and_folders_are_unpacked(make: Make, tmp_path: Path) -> None:
    content = {"top/a:b.json": b"one", "top/inner/c": bytes(3_000), "./top/empty": b"", "d": b"x" * 513}
    reports: list[tuple[int, int]] = []
    (tmp_path / "out").mkdir()
    archive = make(tmp_path / "archive", *content.items())
    unpack(archive, tmp_path / "out", BOUND, lambda done, total: reports.append((done, total)))
    for name, expected in content.items():
        assert (tmp_path / "out" / name).read_bytes() == expected
    assert sum(path.is_file() for path in (tmp_path / "out").rglob("*")) == 4
    assert reports[-1] == (archive.stat().st_size,) * 2
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


@BOTH
@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_leaves_the_folder(make: Make, name: str, tmp_path: Path) -> None:
    name = name.format(folder=str(tmp_path).strip("/"))
    refused(make(tmp_path / "archive", ("good", b"1"), (name, b"2")), tmp_path / "out", "outside the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"Z"])
def test_links_and_devices_of_a_tar(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("inner/link")
    info.type, info.linkname = kind, "../../secret"
    (tmp_path / "secret").write_text("mine")
    refused(tar(tmp_path / "archive", info, ("inner/link/file", b"2")), tmp_path / "out", "link or a device")
    assert (tmp_path / "secret").read_text() == "mine"


def test_a_symlink_of_a_zip(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    refused(zipped(tmp_path / "archive", (info, b"../secret")), tmp_path / "out", "link or a device")


@BOTH
def test_a_bomb_by_size_leaves_its_file_unwritten(make: Make, tmp_path: Path) -> None:
    archive = make(tmp_path / "archive", ("good", b"1"), ("zeros", bytes(2_000_000)))
    assert archive.stat().st_size < 10_000
    refused(archive, tmp_path / "out", "more than 1000000 bytes")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good"]


@BOTH
def test_a_bomb_of_many_files(make: Make, tmp_path: Path) -> None:
    many = [(f"{number}", bytes(400_000)) for number in range(3)]
    refused(make(tmp_path / "archive", *many), tmp_path / "out", "more than 1000000 bytes")


@BOTH
def test_a_bomb_of_members(make: Make, tmp_path: Path) -> None:
    refused(
        make(tmp_path / "archive", *((f"{n}", b"") for n in range(51))),
        tmp_path / "out",
        "more than 50 members",
    )


def test_a_bomb_whose_header_lies(tmp_path: Path) -> None:
    """Both headers of the zip say 10 bytes; two million come out."""
    archive = zipped(tmp_path / "archive", ("zeros", bytes(2_000_000)))
    content = archive.read_bytes().replace(struct.pack("<I", 2_000_000), struct.pack("<I", 10))
    archive.write_bytes(content)
    refused(archive, tmp_path / "out", "no whole .zip")
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 10


def test_no_more_is_written_than_the_header_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If zipfile did believe the data and not the header, the bound would hold too."""
    archive = zipped(tmp_path / "archive", ("zeros", bytes(2_000_000)))
    members = zipfile.ZipFile.infolist

    def lying(self: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        return [_with_size(info, 10) for info in members(self)]

    monkeypatch.setattr(zipfile.ZipFile, "infolist", lying)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, info: io.BytesIO(bytes(2_000_000)))
    refused(archive, tmp_path / "out", "has not the 10 bytes that its header says")
    assert (tmp_path / "out" / "zeros").stat().st_size <= 10


def _with_size(info: zipfile.ZipInfo, size: int) -> zipfile.ZipInfo:
    info.file_size = size
    return info


def test_a_header_that_would_fill_the_memory(tmp_path: Path) -> None:
    """tarfile reads a long name at once, however long its header says that it is."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    (tmp_path / "archive").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(tmp_path / "archive", tmp_path / "out", "belong to no file")


def test_headers_of_headers_without_end(tmp_path: Path) -> None:
    """tarfile follows a long name that has a long name, and so on, by calling itself."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "archive").write_bytes((info.tobuf(tarfile.GNU_FORMAT) + bytes(512)) * 1000)
    refused(tmp_path / "archive", tmp_path / "out", "no whole|belong to no file")


def test_a_negative_size(tmp_path: Path) -> None:
    """It would send tarfile back to the same header for ever."""
    info = tarfile.TarInfo("file")
    info.size = -512
    (tmp_path / "archive").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(tmp_path / "archive", tmp_path / "out", "archive")


@BOTH
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b", "a")])
def test_two_members_of_one_name(make: Make, names: tuple[str, str], tmp_path: Path) -> None:
    archive = make(tmp_path / "archive", *((name, b"1") for name in names))
    refused(archive, tmp_path / "out", "occurs twice|name of another")


def test_folders_without_end(tmp_path: Path) -> None:
    refused(tar(tmp_path / "archive", ("a/" * 2000 + "b", b"1")), tmp_path / "out", "64 folders deep")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_a_bound_on_memory(method: int, tmp_path: Path) -> None:
    refused(zipped(tmp_path / "archive", ("a", b"1"), method=method), tmp_path / "out", "than deflate")


def test_an_encrypted_zip(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive", ("a", b"1"))
    content = bytearray(archive.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    archive.write_bytes(content)
    refused(archive, tmp_path / "out", "encrypted")


@pytest.mark.parametrize(
    "make", [tar, zipped, lambda path, *members: tar(path, *members, mode="w")], ids=["tar.gz", "zip", "tar"]
)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.95])
def test_a_truncated_archive(make: Make, kept: float, tmp_path: Path) -> None:
    members = [(f"file-{number}", bytes(range(256)) * 8 * number) for number in range(6)]
    archive = make(tmp_path / "archive", *members)
    content = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(content[: int(kept * len(content))])
    refused(archive, tmp_path / "out", "no whole")


def test_a_tar_cut_between_two_members(tmp_path: Path) -> None:
    """tarfile alone takes the missing rest for the end."""
    archive = tar(tmp_path / "archive", ("a", bytes(512)), ("b", bytes(512)), mode="w")
    archive.write_bytes(archive.read_bytes()[:1024])
    refused(archive, tmp_path / "out", "end mark is missing")


def test_a_gz_whose_checksum_differs(tmp_path: Path) -> None:
    archive = tar(tmp_path / "archive", ("a", b"1"))
    content = bytearray(archive.read_bytes())
    content[-5] ^= 1
    archive.write_bytes(content)
    refused(archive, tmp_path / "out", "no whole.*CRC")


@pytest.mark.parametrize(
    "content", [b"", b"<html>Not found</html>", b"PK\x03\x04rubbish", b"\x1f\x8brubbish"]
)
def test_what_is_no_archive(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(content)
    refused(tmp_path / "archive", tmp_path / "out", "no whole .zip, .tar or .tar.gz")


def test_no_archive_at_all(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"Cannot read .*nowhere: No such file"):
        unpack(tmp_path / "nowhere", tmp_path, BOUND)


@BOTH
def test_a_full_disk(make: Make, tmp_path: Path) -> None:
    """/dev/full refuses every byte, as a full disk does; it stands in for the file that would be written."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    archive = make(tmp_path / "archive", ("a", b"1" * 5000))
    (tmp_path / "out").mkdir()
    opened = Path.open

    def full(self: Path, *arguments: object, **named: object) -> object:
        return open("/dev/full", "wb", buffering=0) if self.name == "a" else opened(self, *arguments, **named)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(PeftCorrError, match=r"The disk of .*out is full: free some space") as caught:
            unpack(archive, tmp_path / "out", BOUND)
    assert not isinstance(caught.value, ArchiveRefused)
