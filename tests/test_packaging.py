"""What is built holds what it must: the wheel its recipes, the sdist everything that a clone has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.commanding import PROJECT

LEFT_BEHIND = (
    ".git",
    ".*cache",
    "__pycache__",
    "*.egg-info",
    "build",
    "dist",
    "site",
    "runs",
    "venv",
    ".venv*",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it, both without the network."""
    folder = tmp_path_factory.mktemp("packaging")
    clone = folder / "clone"
    shutil.copytree(PROJECT, clone, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    build(clone, "sdist", folder)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [source] = (folder / "unpacked").iterdir()
    build(source, "wheel", folder)
    return folder


def build(source: Path, what: str, folder: Path) -> None:
    code = f"from setuptools import build_meta; build_meta.build_{what}({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def files(folder: Path) -> set[str]:
    """All files below a folder of the clone, but what is left behind."""
    ignored = shutil.ignore_patterns(*LEFT_BEHIND, "adapters", "predictions", "state", "*.pyc")
    found = set()
    for at, folders, names in os.walk(folder):
        folders[:] = set(folders) - ignored(at, folders)
        found |= {Path(at, name).relative_to(PROJECT).as_posix() for name in set(names) - ignored(at, names)}
    return found


def test_the_sdist_is_whole(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    for folder in ("peftcorr", "benchmarks", "docs", "leaderboard", "recipes", "tests", ".ci", ".github"):
        there = files(PROJECT / folder)
        assert there
        assert there <= held
    beside = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"}
    assert beside | {"pyproject.toml", "setup.py", "mkdocs.yml", ".pre-commit-config.yaml"} <= held


def test_the_wheel_holds_the_package_and_the_recipes_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == files(PROJECT / "peftcorr") | {f"peftcorr/{name}" for name in files(PROJECT / "recipes")}


def test_an_installed_package_finds_its_recipes(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    code = (
        "import shutil, sys; from peftcorr.cli import main\n"
        "if main(sys.argv[1:]) != 0: sys.exit('it finds none')\n"
        "shutil.rmtree('site/peftcorr/recipes')\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "validate", "spair71k/lora"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")}, check=False,
    )  # fmt: skip
    assert done.returncode == 2, f"not found, or read from elsewhere: {done.stderr}"
    assert "name: dinov2_vitb14" in done.stdout
    assert "no such file" in done.stderr
