"""The example plugin: installed by pip, it is listed, trains and reaches the leaderboard; the package is not edited."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from peftcorr.registry import Registry
from peftcorr.strategies import Strategy
from peftcorr.strategies.base import apply_checked
from tests.commanding import PLUGIN, PROJECT, Commands
from tests.small_models import FAMILY, Small, build, images, save_weights
from tests.strategies.adapting import acts_on_keys_alone, take_steps

EXAMPLE = PROJECT / "tests" / "example_plugin"


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip installed the example into, from a copy: pip leaves build files beside the source."""
    folder = tmp_path_factory.mktemp("site")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "peftcorr_difffit.py"):
        (source / name).write_bytes((EXAMPLE / name).read_bytes())
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run(
        [*pip, "--target", str(folder / "packages"), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "packages"


@pytest.fixture
def difffit(installed: Path, monkeypatch: pytest.MonkeyPatch) -> type[Strategy]:
    """The class, found by its entry point."""
    monkeypatch.syspath_prepend(str(installed))
    names: Registry[Strategy] = Registry(
        "strategy", "peftcorr.strategies", "peftcorr.strategies.base:Strategy"
    )
    return names.get("difffit")


def test_it_is_a_tutorial() -> None:
    """Under 40 lines, and shown in the docs as it is."""
    code = (EXAMPLE / "peftcorr_difffit.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) < 40
    page = (PROJECT / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert f'```python title="peftcorr_difffit.py"\n{code}```\n' in page
    entry = (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8").split("\n\n")[2]
    assert f"```toml\n{entry}\n```\n" in page


def test_it_is_listed_with_its_origin_and_a_broken_one_with_its_error(
    commands: Commands, installed: Path, tmp_path: Path
) -> None:
    metadata = tmp_path / "broken_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[peftcorr.strategies]\nbroken = not_there:Nothing\n")
    assert len(list(distributions(path=[str(tmp_path)]))) == 1
    done = commands.forked(["ls"], PYTHONPATH=f"{installed}:{tmp_path}")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("difffit ")]
    assert "peftcorr-difffit" in line
    assert "Train the blocks' biases" in line
    [line] = [line for line in done.stdout.splitlines() if line.startswith("broken ")]
    assert "broken-plugin" in line
    assert "BROKEN: ModuleNotFoundError" in line
    assert "\nlora " in done.stdout
    done = commands.forked(["ls", "difffit"], PYTHONPATH=f"{installed}:{tmp_path}")
    assert done.stdout.startswith("strategy difffit, of peftcorr-difffit\n"), done.stderr
    done = commands.forked(["ls", "broken"], PYTHONPATH=f"{installed}:{tmp_path}")
    assert "strategy broken, of broken-plugin\nBROKEN: ModuleNotFoundError" in done.stdout


def test_it_reaches_the_leaderboard(commands: Commands, installed: Path) -> None:
    arguments = commands.arguments("--strategy", "frozen", "difffit", "--plugin", str(PLUGIN))
    done = commands.forked(arguments, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stdout + done.stderr
    record = next(record for record in commands.records() if record.strategy == "difffit")
    assert record.status == "ok"
    assert record.trainable_parameters == 3 * (11 + 2 + 2) * 32  # biases, norms' weights, scales
    adapter = load_file(commands.store.adapter_path(record.run_id))
    assert any(bool((tensor != 1).any()) for name, tensor in adapter.items() if name.endswith("gamma"))
    page = (commands.output / "README.md").read_text(encoding="utf-8")
    assert "difffit" in page
    assert "difffit" in done.stdout.split("Leaderboard")[0]


@pytest.mark.parametrize("cls", FAMILY, ids=lambda cls: cls.__name__)
def test_it_is_sound(difffit: type[Strategy], tmp_path: Path, cls: type[Small]) -> None:
    """Bit-equal at the start; every own tensor moves and no other; saved and loaded features are equal."""
    weights = save_weights(cls, tmp_path / "weights")
    plain, backbone, again = (build(cls, weights) for _ in range(3))
    strategy = difffit(difffit.Config())
    for one in (backbone, again):
        apply_checked(strategy, one)
    with torch.no_grad():
        assert torch.equal(backbone.features(images()), plain.features(images()))
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    take_steps(backbone)
    moved = {name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    own = strategy.state_dict(backbone).keys()
    assert moved <= own
    assert not [name for name in own - moved if not acts_on_keys_alone(name)]
    strategy.load_state_dict(again, strategy.state_dict(backbone))
    with torch.no_grad():
        assert torch.equal(again.features(images()), backbone.features(images()))
