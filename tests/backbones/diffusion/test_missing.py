"""Without the optional package, Stable Diffusion alone is missing, and says how to get it."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone
from peftcorr.commands.params import has_defaults
from peftcorr.errors import PeftCorrError
from peftcorr.registry import Registry


def test_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "peftcorr.backbones.diffusion.stable_diffusion"
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    registry: Registry[Backbone] = Registry("backbone", "peftcorr.none", "peftcorr.backbones.base:Backbone")
    registry.lazy("sd15", f"{module}:StableDiffusion15")
    assert registry.names() == ["sd15"]
    with pytest.raises(PeftCorrError) as caught:
        registry.get("sd15")
    assert str(caught.value).startswith(
        "The backbone 'sd15' of peftcorr cannot be loaded: Stable Diffusion needs"
    )
    assert str(caught.value).endswith(": pip install 'peftcorr[diffusion]'.")
    assert module not in sys.modules


def test_counting_all_backbones_leaves_out_what_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "peftcorr.backbones.diffusion.stable_diffusion"
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    names = ("sd15", "fusion", "tiny")
    entries = {name: replace(BACKBONES._entries[name], error=None) for name in names}
    entries["sd15"].target = f"{module}:StableDiffusion15"
    monkeypatch.setattr(BACKBONES, "_entries", entries)
    assert [name for name in names if has_defaults(BACKBONES, name)] == ["tiny"]
