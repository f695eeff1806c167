from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from peftcorr.cli import main

BASH = """
source "$1"
COMP_WORDS=(peftcorr {words}); COMP_CWORD={count}; _shtab_peftcorr
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tun", {"tune-predictor"}),
        ("run --overw", {"--overwrite"}),
        ("run --overwrite n", {"never"}),
        ("completion f", {"fish"}),
    ],
)
def test_bash_completes(
    words: str, expected: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "peftcorr.bash"
    path.write_text(script("bash", capsys), encoding="utf-8")
    ask = BASH.format(words=words, count=len(words.split()))
    done = subprocess.run(["bash", "-c", ask, "-", str(path)], capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == expected, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_whole(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    for name in ("tune-predictor", "breakdown", "overwrite", "limit-pairs"):
        assert name in text
    if shutil.which(shell) is not None:
        path = tmp_path / "script"
        path.write_text(text, encoding="utf-8")
        done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_another_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["completion", "powershell"])
    assert "invalid choice: 'powershell'" in capsys.readouterr().err
