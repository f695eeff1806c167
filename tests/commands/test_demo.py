"""``peftcorr demo``: what it refuses, before it loads anything."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

import pytest

from peftcorr.cli import main, make_parser
from peftcorr.commands import demo
from peftcorr.errors import PeftCorrError
from tests.commanding import one_sentence


def test_without_gradio_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda package: None)
    assert main(["demo"]) == 2
    assert one_sentence(capsys.readouterr().err).endswith("pip install 'peftcorr[demo]'.")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "taken"])
def test_a_port_that_cannot_be_had(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda package: object())
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        given = str(other.getsockname()[1]) if port == "taken" else port
        assert main(["demo", "--port", given]) == 2
    said = one_sentence(capsys.readouterr().err)
    assert (
        f"Port {given} is taken: give another" if port == "taken" else f"--port {port} is no port"
    ) in said


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PeftCorrError, match=r"There is no (finished )?run"):
        demo._models(_parsed(tmp_path, "3f2a"))


def test_without_a_run_it_is_the_embedded_backbone(tmp_path: Path) -> None:
    assert list(demo._models(_parsed(tmp_path))) == ["tiny, as it comes"]


def _parsed(folder: Path, *runs: str) -> argparse.Namespace:
    return make_parser().parse_args(["demo", *runs, "--output", str(folder)])
