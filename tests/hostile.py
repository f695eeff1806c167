"""Text that would take effect, paths that are no files, and how a command refuses them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peftcorr.cli import main

HOSTILE = (
    "\x1b[31mred\x1b]0;title\x07 [bold]x[/bold] ](javascript:alert(1)) [a](javascript:b) <img src=x onerror=alert(1)> "
    "<script>c</script> ../../escaped | cell \\| `code` ``\n# head\n- \r\n| a | $x_1^2$ \\$ \u202eright\u2066 \u0085 "
    "\u2028 ]]> --> &lt; &#106; _u_ **b** ~~s~~"
)
PREFIXED = f"_{HOSTILE}"
ID = "0123456789abcdef"


def assert_calm(text: str) -> None:
    """No control character but a line's end."""
    assert [letter for letter in text if not letter.isprintable() and letter != "\n"] == []


@contextmanager
def deadline(seconds: int = 20) -> Iterator[None]:
    """A test that waits for a pipe fails."""
    import signal

    def late(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence with which a command refuses; it printed nothing else."""
    with deadline():
        assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err) < 2500
    [line] = captured.err.splitlines()
    assert_calm(line)
    return line


def odd(path: Path, kind: str) -> Path:
    """A path with a pipe, a folder, or a link to nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.parent / "nowhere")
    return path


KINDS = pytest.mark.parametrize("kind", ["pipe", "folder", "dangling link"])


DEEP = pytest.mark.parametrize(
    "content", ["[" * 5000 + "]" * 5000, '{"a": ' + "9" * 5000 + "}"], ids=["deep", "digits"]
)
