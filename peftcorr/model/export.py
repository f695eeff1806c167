"""A trained model for the world outside: the adapter merged into the backbone, in its own library's format."""

from __future__ import annotations

from pathlib import Path

import torch

from peftcorr.backbones.bfloat16 import widened
from peftcorr.errors import PeftCorrError
from peftcorr.files import whole_folder
from peftcorr.model.finished import finished_run, load_finished
from peftcorr.results.store import Store

_TOLERANCE = 1e-4


def export(run_id: str, folder: Path, output: Path, given: Path | None) -> str:
    """Merge the adapter of a run into its backbone, check the result and write it.

    Args:
        run_id: of a run whose record and adapter are in `output`, or the beginning of it.
        folder: where the model goes; new or empty.
        output: folder of the records.
        given: weights that the run was trained from (``--weights``).

    Returns:
        what was written, in a sentence.

    Raises:
        PeftCorrError: if there is no such run, the weights are others, the strategy has no exact merge, the family
            has no format of its own, or the folder is not empty.
    """
    record = finished_run(run_id, Store(output))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PeftCorrError(f"{folder} is there already: give a new or empty folder.")
    found = load_finished(record, Store(output), given)
    backbone = widened(found.backbone)  # a merge into bfloat16 would be lost in rounding
    size = backbone.config.image_size
    images = torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = backbone.features(images)
    found.strategy.merge(backbone)
    with torch.inference_mode():
        merged = backbone.features(images)
    difference = float((merged - expected).norm() / expected.norm())
    if not difference <= _TOLERANCE:  # what is no number is no agreement
        raise PeftCorrError(
            f"The merged model's features differ from the run's by {difference:.1e} of their size: it is not written."
        )
    with whole_folder(folder.absolute()) as temporary:
        backbone.save_pretrained(temporary)
    return (
        f"{folder}: {record.strategy} merged into {record.backbone} ({record.weights_id}); features differ by "
        f"{difference:.1e} of their size from the unmerged model's."
    )
