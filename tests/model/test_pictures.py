"""Pictures come from the split that a run read, and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.errors import PeftCorrError
from peftcorr.model.pictures import Pictures


def test_a_picture_is_read_in_the_frame_that_was_annotated(spair_root: Path, tmp_path: Path) -> None:
    found = Pictures(SpairFolder(SpairFolder.Config(), spair_root, tmp_path / "cache").load("test"))
    path = "cat/2008_000001.jpg"
    stored = np.asarray(Image.open(spair_root / "JPEGImages" / path))
    assert (found.read(path) == stored).all()


@pytest.mark.parametrize(
    "path", ["../farm/JPEGImages/cat/2008_000001.jpg", "/etc/passwd", "cat/none.jpg", "\x1b[31m"]
)
def test_a_name_that_the_split_has_not_is_no_way_out_of_its_folder(
    spair_root: Path, tmp_path: Path, path: str
) -> None:
    found = Pictures(SpairFolder(SpairFolder.Config(), spair_root, tmp_path / "cache").load("test"))
    with pytest.raises(PeftCorrError, match="has no image"):
        found.read(path)
