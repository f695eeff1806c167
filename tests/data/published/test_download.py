"""Downloads from a server of this test's own: whole, broken, gone on with, changed, refused."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from peftcorr.data.published.download import download
from peftcorr.errors import PeftCorrError
from tests.file_server import Server, serving

CONTENT = bytes(range(256)) * 12_000  # 3 MB: more than one piece
SUM = hashlib.sha256(CONTENT).hexdigest()
LARGEST = 10_000_000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def goal(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.tar.gz"


def left(goal: Path) -> list[str]:
    return sorted(path.name for path in goal.parent.glob("*"))


def broken(server: Server, goal: Path, after: int = 1_500_000) -> None:
    """Leave half a download behind."""
    server.stop_after = after
    with pytest.raises(PeftCorrError, match=r"broke off.*the same command goes on from there"):
        download(server.address, goal, largest=LARGEST)
    server.stop_after = None
    assert 0 < (goal.parent / f"{goal.name}.part").stat().st_size <= after
    assert not goal.exists()


def test_a_whole_file(server: Server, goal: Path) -> None:
    reports: list[tuple[int, int]] = []
    found = download(
        server.address, goal, largest=LARGEST, sha256=SUM, progress=lambda *report: reports.append(report)
    )
    assert (found, goal.read_bytes()) == (SUM, CONTENT)
    assert left(goal) == [goal.name]
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    assert len(reports) > 2
    assert "Range" not in server.asked[0]
    assert download(server.address, goal, largest=LARGEST, sha256=SUM) == SUM
    assert len(server.asked) == 1, "asked again for what is there"


def test_half_a_download_is_gone_on_with(server: Server, goal: Path) -> None:
    broken(server, goal)
    half = (goal.parent / f"{goal.name}.part").stat().st_size
    server.sent = 0
    assert download(server.address, goal, largest=LARGEST, sha256=SUM) == SUM
    assert goal.read_bytes() == CONTENT
    assert server.asked[-1]["Range"] == f"bytes={half}-"
    assert server.asked[-1]["If-Range"] == '"one"'
    assert server.sent == len(CONTENT) - half
    assert left(goal) == [goal.name]


def test_a_server_that_ignores_ranges(server: Server, goal: Path) -> None:
    broken(server, goal)
    server.ranges = False
    assert download(server.address, goal, largest=LARGEST, sha256=SUM) == SUM
    assert goal.read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ['"two"', 'W/"two"', None])
def test_a_file_that_changed_in_between(server: Server, goal: Path, tag: str | None) -> None:
    broken(server, goal)
    server.content, server.tag = CONTENT[::-1], tag
    download(server.address, goal, largest=LARGEST)
    assert goal.read_bytes() == CONTENT[::-1], "two versions in one file"


@pytest.mark.parametrize("extra", [0, 100])
def test_a_part_that_has_everything_or_more(server: Server, goal: Path, extra: int) -> None:
    goal.parent.mkdir()
    (goal.parent / f"{goal.name}.part").write_bytes(CONTENT + bytes(extra))
    assert download(server.address, goal, largest=LARGEST, sha256=SUM) == SUM
    assert goal.read_bytes() == CONTENT
    assert len(server.asked) == (1 if extra == 0 else 2)


def test_no_length(server: Server, goal: Path) -> None:
    server.length = False
    assert download(server.address, goal, largest=LARGEST) == SUM


def test_a_wrong_checksum_leaves_nothing(server: Server, goal: Path) -> None:
    with pytest.raises(PeftCorrError, match=f"has the sha256 {SUM} where it must have {'0' * 64}"):
        download(server.address, goal, largest=LARGEST, sha256="0" * 64)
    assert left(goal) == []


def test_a_wrong_checksum_of_a_file_that_is_there(server: Server, goal: Path) -> None:
    goal.parent.mkdir()
    goal.write_bytes(b"mine")
    with pytest.raises(PeftCorrError, match="is there already, but its sha256 is"):
        download(server.address, goal, largest=LARGEST, sha256=SUM)
    assert goal.read_bytes() == b"mine"
    assert server.asked == []


@pytest.mark.parametrize("length", [True, False])
def test_more_than_there_can_be(server: Server, goal: Path, length: bool) -> None:
    server.length = length
    with pytest.raises(PeftCorrError, match="more than the 1000000 bytes"):
        download(server.address, goal, largest=1_000_000)
    assert left(goal) == []


@pytest.mark.parametrize("status", [404, 403, 500, 416])
def test_a_refusal(server: Server, goal: Path, status: int) -> None:
    server.status = status
    with pytest.raises(PeftCorrError, match=rf"answers {status} .*give it with --archive FILE\.$"):
        download(server.address, goal, largest=LARGEST)
    assert left(goal) == []


def test_a_refusal_keeps_the_part(server: Server, goal: Path) -> None:
    broken(server, goal)
    half = left(goal)
    server.status = 503
    with pytest.raises(PeftCorrError, match="answers 503"):
        download(server.address, goal, largest=LARGEST)
    assert left(goal) == half


def test_no_network(goal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(
        PeftCorrError, match=r"Cannot download .*Connection refused.*--archive FILE\.$"
    ) as caught:
        download(f"http://127.0.0.1:{port}/file", goal, largest=LARGEST)
    assert "HTTPConnectionPool" not in str(caught.value)


def test_a_name_that_no_server_has(goal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(
        PeftCorrError, match=r"Cannot download http://nowhere\.invalid/file \(.+\): check the network"
    ):
        download("http://nowhere.invalid/file", goal, largest=LARGEST)


def test_a_full_disk(server: Server, goal: Path) -> None:
    """/dev/full refuses every byte, as a full disk does."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    goal.parent.mkdir()
    (goal.parent / f"{goal.name}.part").symlink_to("/dev/full")
    with pytest.raises(PeftCorrError, match=r"The disk of .*new is full: free some space"):
        download(server.address, goal, largest=LARGEST)


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PeftCorrError, match=r"Cannot write .*file"):
        download(server.address, tmp_path / "file" / "inner", largest=LARGEST)
