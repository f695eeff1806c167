from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from peftcorr.data import DATASETS
from peftcorr.data.synthetic import SyntheticConfig, generate
from peftcorr.data.synthetic import source as synthetic_source
from peftcorr.errors import PeftCorrError

TINY = {
    "categories": ["car"],
    "images": {"trn": 4, "val": 0, "test": 3},
    "pairs": {"trn": 6, "val": 0, "test": 4},
    "minimum_shared": 1,
}


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Render without spawning processes; returns the folders that were rendered."""
    rendered: list[Path] = []

    def counted(folder: Path, config: SyntheticConfig, progress: Any = None) -> None:
        rendered.append(folder)
        generate(folder, config, workers=1, progress=progress)

    monkeypatch.setattr("peftcorr.data.synthetic.rendered.generate", counted)
    return rendered


def source(cache: Path, **options: Any) -> synthetic_source.Synthetic:
    cls = DATASETS.get("synthetic")
    made = cls(cls.Config.model_validate(TINY | options), None, cache)
    assert isinstance(made, synthetic_source.Synthetic)
    return made


def test_rendered_once_and_read_back(tmp_path: Path, one_process: list[Path]) -> None:
    first = source(tmp_path).load("trn")
    again = source(tmp_path).load("test")
    assert len(one_process) == 1
    assert (first.split, again.split) == ("trn", "test")
    assert 0 < len(first) <= 6
    assert 0 < len(again) <= 4
    assert set(first.table["category"]) == {"car"}
    for dataset in (first, again):
        assert all((dataset.image_root / path).is_file() for path in dataset.table["target_image"])
    assert not set(first.table["source_image"]) & set(again.table["source_image"])


def test_other_settings_are_rendered_apart_under_another_name(
    tmp_path: Path, one_process: list[Path]
) -> None:
    names = {source(tmp_path, seed=seed).load("trn").name for seed in (0, 1)}
    assert len(names) == len(one_process) == 2
    assert all(name.startswith("synthetic-") for name in names)


def test_default_settings_are_called_synthetic_and_need_no_root(tmp_path: Path) -> None:
    cls = DATASETS.get("synthetic")
    assert cls.needs_root is False
    made = cls(cls.Config(), None, tmp_path)
    assert made.name == "synthetic"
    assert made.splits() == ["trn", "val", "test"]
    assert not list(tmp_path.iterdir())  # telling the splits renders nothing


def test_split_without_pairs(tmp_path: Path) -> None:
    assert source(tmp_path).splits() == ["trn", "test"]
    with pytest.raises(PeftCorrError, match="no split 'val': it has trn, test"):
        source(tmp_path).load("val")


def test_misspelt_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="sede"):
        source(tmp_path, sede=3)


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PeftCorrError, match="Cannot write the synthetic benchmark"):
        source(tmp_path / "file").load("trn")
