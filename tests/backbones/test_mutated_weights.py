"""Weights with bytes changed, cut out or put in: loaded, or refused in one sentence; nothing else happens."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from peftcorr.errors import PeftCorrError
from tests.backbones.parity import parity
from tests.backbones.test_release import Rotary
from tests.backbones.test_tensor_files import pickled
from tests.hostile import assert_calm, deadline
from tests.small_models import Small, save_weights

TIMES = 40


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Most changes fall where names and structure are: at the beginning."""
    place = draw.randrange(len(content) if draw.random() < 0.5 else min(3000, len(content)))
    kind = draw.randrange(4)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + content[place + draw.randrange(1, 200) :]
    more = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 30)))
    return content[:place] + more + content[place + (len(more) if kind == 2 else 0) :]


@pytest.mark.parametrize("kind", ["zip.pth", "old.pth", "a.safetensors", "index", "part"])
def test_one_sentence_each(tmp_path: Path, kind: str) -> None:
    meta = parity("meta")
    state = meta.in_meta_names(Rotary, dict(meta.random_model(Rotary).state_dict()))
    cls, file = Rotary, tmp_path / kind
    given = file
    if kind.endswith(".pth"):
        torch.save(state, file, _use_new_zipfile_serialization=kind == "zip.pth")
    elif kind == "a.safetensors":
        save_file({name: tensor.clone() for name, tensor in state.items()}, file)
    else:
        given = pickled(save_weights(Small, tmp_path), 3)
        cls, file = Small, sorted(given.glob("*.index.json" if kind == "index" else "*.bin"))[0]
    content = file.read_bytes()
    said = []
    for seed in range(TIMES):
        file.write_bytes(mutated(content, random.Random(seed)))
        with deadline():
            try:
                meta.load(cls, given)
            except PeftCorrError as error:
                said.append(str(error))
    assert len(said) > TIMES // 2
    for sentence in said:
        assert_calm(sentence)
        assert "\n" not in sentence
        assert len(sentence) < 600
