"""What folders and published sets of annotated images have in common: names, options and the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from peftcorr.data.hold_out import HoldOut
from peftcorr.data.layouts.ap10k import Ap10k
from peftcorr.data.layouts.coco import Coco
from peftcorr.data.layouts.cub import Cub
from peftcorr.data.layouts.drawn_source import DrawnSource
from peftcorr.data.layouts.mp100 import Mp100
from peftcorr.data.layouts.points import Points
from tests.published_layouts import write_coco
from tests.unseen_archives import mp100_archive


@pytest.mark.parametrize("kind", [Cub, Mp100])
def test_a_published_set_has_no_option_for_the_name_of_a_folder(kind: type[DrawnSource]) -> None:
    with pytest.raises(ValidationError):
        kind.Config.model_validate({"folder": "birds"})


@pytest.mark.parametrize("kind", [Ap10k, Coco, Cub, Mp100, Points])
def test_what_is_done_after_the_table_is_read_makes_no_other_table(kind: type[DrawnSource]) -> None:
    def told(**options: Any) -> str:
        return kind.Config.model_validate(options).of_table()

    assert told(exif="shown", hold_out={"keypoints": 0.3}, pair_lists={"test": "0" * 64}) == told()
    assert told(seed=1) != told()


def test_draws_of_what_is_held_out_share_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_coco(tmp_path / "birds")
    for option in (None, HoldOut(keypoints=0.3), HoldOut(keypoints=0.3, seed=1)):
        made = Coco(Coco.Config(shared=1, hold_out=option, exif="stored"), root, tmp_path / "cache")
        assert made.load("trn").split + made.load("val").split == "trnval"
        monkeypatch.setattr(Coco, "read", None)  # the annotation is read once


def test_names_tell_the_set_and_what_was_chosen(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "birds")
    assert Coco(Coco.Config(), root, tmp_path).name == "birds"
    assert Coco(Coco.Config(within="all", seed=3), root, tmp_path).name == "birds-within_all-seed_3"
    mp100_archive(tmp_path)
    root = tmp_path / "made"
    assert Mp100(Mp100.Config(), root, tmp_path).name == "mp100"
    chosen = Mp100.Config(split=2, shared=2, pairs=None)
    assert Mp100(chosen, root, tmp_path).name == "mp100-split_2-shared_2-pairs_None"
