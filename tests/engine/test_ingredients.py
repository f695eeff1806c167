"""The code of plugins and the weights that a run names: what is edited, or of another revision, is another run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from peftcorr import pipeline
from peftcorr.backbones import BACKBONES
from peftcorr.backbones.diffusion.loading import local_pipeline
from peftcorr.backbones.loading import fetched
from peftcorr.engine.plan import Plan
from peftcorr.files import sha256
from peftcorr.registry import OURS
from peftcorr.strategies import STRATEGIES
from tests.commanding import PROJECT
from tests.engine.edited import write_lines
from tests.engine.identified import Desk, flip
from tests.engine.plugged import REGISTRIES, Plugins
from tests.small_diffusion import SmallDiffusion, save_pipeline
from tests.small_models import SIZE, Small, save_weights
from tests.test_readme import PLUGINS, printed_plugins

STRATEGY = '''
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.base import Strategy

@STRATEGIES.register("own")
class Own(Strategy):
    """One layer, times a constant."""

    scale = 1.0

    def apply(self, backbone):
        norm = backbone.final_norm()
        norm.weight.requires_grad_(True)

    def expected_parameters(self, backbone):
        return backbone.final_norm().weight.numel()
'''
BACKBONE = '''
from tests.small_models import Small
from peftcorr.backbones import BACKBONES
from peftcorr.backbones.diffusion.loading import local_pipeline
from peftcorr.backbones.loading import fetched

@BACKBONES.register("own/net")
class Own(Small):
    """As small, times a constant."""

    scale = 1.0
'''


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    return Plugins(tmp_path / "plugins", monkeypatch)


@pytest.fixture
def desk(tmp_path: Path, small_weights: Path, photographs: Path) -> Desk:
    return Desk(tmp_path, small_weights, {"pairs": photographs})


def on_pairs(desk: Desk, **sections: Any) -> Plan:
    return desk.plan("training.steps=4", **{"dataset": "pairs", **sections})


# The code of plugins

printed = printed_plugins(PLUGINS)
EDITS: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "strategy": (STRATEGY, "= 1.0", "= 3.0", {"strategy": "own"}, "strategy own"),
    "part of a combination": (STRATEGY, "= 1.0", "= 3.0", {"strategy": "lora+own"}, "strategy own"),
    "backbone": (BACKBONE, "= 1.0", "= 3.0", {"backbone": "own/net"}, "backbone own/net"),
    "part of a fusion": (BACKBONE, "= 1.0", "= 3.0", {}, "backbone own/net"),
    "dataset": (printed["lines.py"], "max(values)", "1 + max(values)", {"dataset": "lines"}, "dataset lines"),
    "tested besides": (
        printed["lines.py"],
        "max(values)",
        "1 + max(values)",
        {"eval_on": ["lines"]},
        "dataset lines",
    ),
    "predictor": (
        printed["top_cells.py"],
        "mean(-2)",
        "amax(-2)",
        {"predictors": ["argmax", {"name": "top_cells"}]},
        "predictor top_cells",
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_plugin_file_makes_another_run_that_says_why(
    what: str, desk: Desk, plugins: Plugins, tmp_path: Path
) -> None:
    code, old, new, sections, named = EDITS[what]
    desk.roots["lines"] = write_lines(tmp_path / "lines")
    if what == "part of a fusion":
        sections = {"backbone": fused(desk)}
    plugins.file(code)
    before = on_pairs(desk, **sections)
    record = desk.measured(before)
    for text in (code.replace(old, new), f"{code}\n# a remark"):
        assert text != code
        plugins.file(text)
        after = on_pairs(desk, **sections)
        assert after.run_id != before.run_id
        assert any(
            f"the code of the {named}" in line
            and line.endswith(f"since 12.34 was measured ({record.run_id}).")
            for line in desk.said(after)
        )
    plugins.file(code)
    assert on_pairs(desk, **sections).run_id == before.run_id


def fused(desk: Desk) -> dict[str, Any]:
    """A fusion of ``small`` and the plugin's backbone; their weights lie below one folder."""
    assert desk.weights is not None
    parts = [{"name": name, "weights": desk.weights.name} for name in ("small", "own/net")]
    desk.weights = desk.weights.parent
    return {"name": "fusion", "image_size": SIZE, "parts": parts}


def test_where_a_plugin_file_lies_and_its_name_do_not_count(desk: Desk, plugins: Plugins) -> None:
    plugins.file(STRATEGY)
    before = on_pairs(desk, strategy="own")
    plugins.file(STRATEGY, "elsewhere/another_name.py")
    assert on_pairs(desk, strategy="own").run_id == before.run_id


def test_a_plugin_that_is_loaded_and_not_used_does_not_count(desk: Desk, plugins: Plugins) -> None:
    before = on_pairs(desk, strategy="lora")
    plugins.file(STRATEGY)
    assert on_pairs(desk, strategy="lora").run_id == before.run_id


MODULE = STRATEGY.replace('@STRATEGIES.register("own")\n', "")


@pytest.mark.parametrize(
    ("files", "entry", "edited"),
    [
        ({"own_module.py": MODULE}, "own_module:Own", "own_module.py"),
        (
            {
                "own_package/__init__.py": "from own_package.inner import Own\n",
                "own_package/inner.py": MODULE,
            },
            "own_package:Own",
            "own_package/inner.py",
        ),
        (
            {
                "own_package/__init__.py": "",
                "own_package/main.py": MODULE + "\nfrom own_package import helper\n",
                "own_package/helper.py": "scale = 1.0\n",
            },
            "own_package.main:Own",
            "own_package/helper.py",
        ),
        ({"own_shared/inner.py": MODULE}, "own_shared.inner:Own", "own_shared/inner.py"),
        (
            {"own_shared/inner/__init__.py": MODULE, "own_shared/inner/helper.py": "scale = 1.0\n"},
            "own_shared.inner:Own",
            "own_shared/inner/helper.py",
        ),
    ],
    ids=[
        "a module",
        "a package",
        "a file beside it",
        "a folder without __init__",
        "a package in such a folder",
    ],
)
def test_an_edited_entry_point_makes_another_run_that_says_why(
    files: dict[str, str], entry: str, edited: str, desk: Desk, plugins: Plugins
) -> None:
    plugins.distribution(files, entry)
    before = on_pairs(desk, strategy="own")
    record = desk.measured(before)
    assert STRATEGIES.find("own").origin == "own-plugin"  # type: ignore[union-attr]
    plugins.distribution({**files, edited: files[edited].replace("1.0", "3.0")}, entry)
    after = on_pairs(desk, strategy="own")
    assert after.run_id != before.run_id
    sentence = f"the code of the strategy own changed since 12.34 was measured ({record.run_id})."
    assert desk.said(after) == [sentence]
    plugins.distribution(files, entry, version="1.1")
    after = on_pairs(desk, strategy="own")
    assert desk.said(after) == [sentence]
    plugins.distribution(files, entry)
    assert on_pairs(desk, strategy="own").run_id == before.run_id


def test_the_example_plugin_edited(desk: Desk, plugins: Plugins) -> None:
    code = (PROJECT / "tests" / "example_plugin" / "peftcorr_difffit.py").read_text(encoding="utf-8")
    ids = []
    for text in (code, code.replace("torch.ones", "3 * torch.ones"), code):
        plugins.distribution({"peftcorr_difffit.py": text}, "peftcorr_difffit:DiffFit")
        ids.append(on_pairs(desk, strategy="own").run_id)
    assert ids[0] == ids[2] != ids[1]


def test_what_comes_with_the_package_is_no_plugin(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code is told by the version in the record's environment; so are the libraries that it derives from."""
    for registry in REGISTRIES:
        monkeypatch.setattr(
            registry, "_entries", {k: v for k, v in registry._entries.items() if v.origin == OURS}
        )
    desk.weights = None
    plan = on_pairs(desk, strategy="lora+dora", backbone="tiny")
    assert set(plan.ingredients) == {
        "weights",
        *(f"{what} dataset/{split}" for what in ("annotation", "images") for split in ("trn", "val", "test")),
    }


# Weights

COMMITS = ("1" * 40, "2" * 40)


@pytest.fixture(scope="module")
def diffusion_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(SmallDiffusion, tmp_path_factory.mktemp("pipelines") / "small")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """A cache of the hub with two revisions of the repository of ``small``, and what says which is the newest."""
    folders = [tmp_path / "models--makers--small" / "snapshots" / commit for commit in COMMITS]
    for seed, folder in enumerate(folders):
        save_weights(Small, folder, seed)
    monkeypatch.setattr(Small, "hub_id", "makers/small")

    def newest(number: int) -> Path:
        def answer(hub_id: str, allow_patterns: list[str], **_: object) -> str:
            assert hub_id == "makers/small"
            assert "model.safetensors" in allow_patterns
            return str(folders[number])

        monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
        return folders[number]

    return newest


def test_two_revisions_of_the_hub_are_two_runs(desk: Desk, hub: Callable[[int], Path]) -> None:
    """Each record has its commit and the SHA-256 of the tensors, and says whose they are."""
    desk.weights = None
    records = []
    for number, commit in enumerate(COMMITS):
        folder = hub(number)
        plan = on_pairs(desk)
        if records:
            [line] = desk.said(plan)
            assert line.startswith("the revision of the weights, the weights changed since ")
            assert line.endswith(f" was measured ({records[0].run_id}).")
        pipeline.run(plan, desk.bench())
        record = desk.bench().store.read(plan.run_id)
        assert record is not None
        assert record.weights_id == "makers/small"
        assert record.weights_commit == commit
        assert record.weights_sha256 == sha256(folder / "model.safetensors")
        assert record.official_weights
        assert record.recipe["weights"] == {
            "id": "makers/small",
            "sha256": record.weights_sha256,
            "commit": commit,
        }
        assert record.ingredients["weights"] == record.weights_sha256
        assert record.ingredients["commit"] == commit
        records.append(record)
    assert records[0].run_id != records[1].run_id
    hub(0)
    assert on_pairs(desk).run_id == records[0].run_id


def test_the_same_files_in_a_folder_are_told_by_their_hash(desk: Desk, hub: Callable[[int], Path]) -> None:
    """Given with --weights they are nobody's in particular, whatever their folder is called."""
    desk.weights = None
    hub(0)
    plans = [on_pairs(desk)]
    for name in ("a copy", "another"):
        desk.weights = Path(shutil.copytree(hub(0), desk.folder / name))
        plans.append(on_pairs(desk))
    assert plans[1].run_id == plans[2].run_id != plans[0].run_id
    assert plans[1].model.weights is not None
    assert not plans[1].model.weights.official
    assert "commit" not in plans[1].ingredients
    flip(desk.weights / "model.safetensors", -1)
    after = on_pairs(desk)
    assert after.run_id != plans[2].run_id
    desk.measured(plans[2])
    assert desk.said(after) == [f"the weights changed since 12.34 was measured ({plans[2].run_id})."]


def test_a_fusion_has_the_commit_of_each_part(
    desk: Desk, plugins: Plugins, hub: Callable[[int], Path]
) -> None:
    plugins.file(BACKBONE)
    options = fused(desk)
    options["parts"][1]["weights"] = None  # the hub's
    found = []
    for number in range(2):
        hub(number)
        plan = on_pairs(desk, backbone=options)
        assert plan.ingredients["commit"] == f"- + {COMMITS[number]}"
        found.append(plan.run_id)
    assert found[0] != found[1]


def test_official_weights_are_the_makers_own() -> None:
    """Stable Diffusion's makers took their repositories down: what is fetched are copies of others."""
    mirrors, makers = set(), set()
    for entry in BACKBONES.entries():
        cls = BACKBONES.get(entry.name) if entry.origin == OURS else Small
        if cls.hub_id is None:
            continue
        weights = cls.find_weights(cls.Config(), None)
        assert weights.id == cls.hub_id
        (makers if weights.official else mirrors).add(entry.name)
    assert mirrors == {"sd15", "sd21"}
    assert {BACKBONES.get(name).hub_id.partition("/")[0] for name in makers} == {"facebook"}  # type: ignore[union-attr]


def test_a_mirror_stays_one_when_it_is_fetched(
    tmp_path: Path, diffusion_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(diffusion_weights, tmp_path / "snapshots" / COMMITS[0]))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda hub_id, **_: str(folder))
    cls = BACKBONES.get("sd21")
    weights = fetched(cls, cls.Config(), cls.find_weights(cls.Config(), None))
    assert (weights.id, weights.commit, weights.official) == (cls.hub_id, COMMITS[0], False)
    assert weights.sha256 == local_pipeline(folder).sha256
