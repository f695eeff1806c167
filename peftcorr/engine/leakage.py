"""The images of two splits compared, each process fingerprinting its share of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from peftcorr.data.fingerprints import BYTES, Fingerprints, fingerprints, overlap
from peftcorr.data.leakage import Leakage
from peftcorr.engine.evaluate import Split


def leakage(trained: Sequence[Split], tested: Split, accelerator: Accelerator) -> Leakage:
    """Which images of `tested` were trained on, in any of some splits; the same in every process.

    Raises:
        PeftCorrError: if an image cannot be decoded.
    """
    rows: dict[tuple[Path, str], Fingerprints] = {}
    for split in trained:
        for path, row in zip(*_of(split, accelerator), strict=True):
            rows.setdefault((split.store.image_root, path), row)
    tested_paths, tested_prints = _of(tested, accelerator)
    trained_prints = np.array(list(rows.values()), np.uint8).reshape(-1, BYTES)
    return overlap(trained_prints, [path for _, path in rows], tested_prints, tested_paths)


def _of(split: Split, accelerator: Accelerator) -> tuple[list[str], Fingerprints]:
    sizes = dict(zip(split.data.images, split.data.sizes, strict=True))
    paths = list(sizes)  # a file of two categories is one image
    own = paths[accelerator.process_index :: accelerator.num_processes]
    prints = fingerprints(split.store, own, [sizes[path] for path in own])
    if accelerator.num_processes == 1:
        return paths, prints
    every = np.zeros((len(paths), BYTES), np.uint8)
    every[accelerator.process_index :: accelerator.num_processes] = prints
    shared = torch.from_numpy(every).to(accelerator.device)
    return paths, accelerator.reduce(shared, "sum").cpu().numpy()
