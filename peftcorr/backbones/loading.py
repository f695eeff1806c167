"""Weights fetched from the hub and loaded without surprises."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.backbones.bfloat16 import thinned
from peftcorr.backbones.identity import PUBLISHED, Weights, joined, tensor_files
from peftcorr.backbones.marked import readable
from peftcorr.backbones.tensors import read_tensors
from peftcorr.errors import PeftCorrError, reason, shortened

T = TypeVar("T")


def fetched(
    backbone: type[Backbone], config: Backbone.Config, weights: Weights, download: bool = True
) -> Weights:
    """Weights with their files at hand: those of the hub fetched, hashed, and with the revision that they are of.

    Args:
        backbone: what they are for.
        config: its options.
        weights: what `Backbone.find_weights` found.
        download: ask the hub; else what is not in its local cache stays as it is.

    Raises:
        PeftCorrError: as `fetch`.
    """
    if weights.parts:
        members = backbone.members(config)
        parts = zip(members, weights.parts, strict=True)
        return joined([fetched(*own, part, download) for own, part in parts])
    if not weights.on_the_hub:
        return weights
    try:
        folder = fetch(weights.id, backbone.hub_files, download)
    except PeftCorrError:
        if download:
            raise
        return weights
    found = backbone.find_weights(config, folder)
    return replace(found, id=weights.id, official=weights.official, commit=folder.name)


def place_of(weights: Weights, files: Sequence[str] = PUBLISHED) -> Path:
    """Where weights lie, fetched first if they are the hub's; see `fetch`."""
    return fetch(weights.id, files) if weights.folder is None else weights.folder


def fetch(hub_id: str, files: Sequence[str] = PUBLISHED, download: bool = True) -> Path:
    """Folder of a model's files in the local hub cache, downloaded if they are not there yet.

    Args:
        hub_id: repository.
        files: which of its files, as paths or patterns.
        download: ask the hub for what is not there.

    Raises:
        PeftCorrError: if the hub cannot be reached or refuses.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files), local_files_only=not download))
    except GatedRepoError as error:
        raise PeftCorrError(
            f"The weights {hub_id} are only given to those who accepted their licence: accept it at "
            f"https://huggingface.co/{hub_id}, then run `hf auth login` or set HF_TOKEN, or give a folder that holds "
            "them with --weights."
        ) from error
    except Exception as error:  # the hub client raises many kinds: offline, refused, not found, timed out
        raise PeftCorrError(
            f"The weights {hub_id} could not be fetched from the Hugging Face hub ({type(error).__name__}): check the "
            "network, or give a folder that holds them with --weights."
        ) from error


def load_transformers(
    model_class: type[Any], settings: Mapping[str, Any], folder: Path, thin: bool = False
) -> nn.Module:
    """Load float32 weights from `folder`, refusing what is not exactly the architecture asked for.

    Args:
        model_class: transformers class.
        settings: entries of its configuration that the backbone's code prescribes.
        folder: folder with ``config.json`` and the tensors (`peftcorr.backbones.identity.tensor_files`); a classifier
            among them is left aside.
        thin: have the large ones in bfloat16; see `fill`.

    Raises:
        PeftCorrError: if an entry differs, a tensor is missing, or a file cannot be read.
    """
    config_class = model_class.config_class
    found = read_configuration(folder, config_class.from_pretrained)
    entries = {key: getattr(found, key) for key in settings}
    # Older versions of transformers left the type of a model inside another one empty.
    entries["model_type"] = found.model_type or config_class.model_type
    check_settings(folder, entries, {"model_type": config_class.model_type, **settings})
    files = tensor_files(folder)
    tensors = {key: tensor for file in files for key, tensor in read_tensors(file, mapped=thin).items()}
    return fill(
        f"--weights {folder}: {files[0].name}", model_class, found, without_classifiers(tensors), thin
    )


CLASSIFIERS = frozenset({"head", "head_dist", "fc", "classifier", "last_linear", "pre_logits"})
"""What classifiers are called, as first part of their tensors' names; timm leaves them out of what it loads too."""


def without_classifiers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name without those of a classifier, which lies behind the features."""
    return {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] not in CLASSIFIERS}


def fill(
    where: str, model_class: type[Any], config: Any, tensors: dict[str, Tensor], thin: bool = False
) -> nn.Module:
    """A float32 model of transformers with these tensors, refused if they are not exactly its own.

    Args:
        where: what messages call the weights.
        model_class: transformers class.
        config: its configuration.
        tensors: by its names, or by those of the published files of that class.
        thin: have the large ones in bfloat16 (`peftcorr.backbones.bfloat16`). Each becomes so by itself, while it is
            read from the file.

    Raises:
        PeftCorrError: as `load_whole`.
    """
    # Convolutions have no attention to choose an implementation of.
    attention = "sdpa" if model_class._supports_sdpa else None
    # transformers gives a tensor the type of the parameter that it is for.
    model_class = _thin(model_class) if thin else model_class
    load = partial(model_class.from_pretrained, None, config=config, state_dict=tensors)
    return load_whole(where, load, dtype=torch.float32, attn_implementation=attention)


def _thin(model_class: type[Any]) -> type[Any]:
    """The class, whose models have their large weights in bfloat16 from the start."""

    def made(self: Any, config: Any, *more: Any, **options: Any) -> None:
        model_class.__init__(self, config, *more, **options)
        thinned(self)

    return type(
        model_class.__name__, (model_class,), {"__init__": made, "__module__": model_class.__module__}
    )


def read_configuration(folder: Path, read: Callable[..., T]) -> T:
    """What `read`, a library's own reader, makes of the folder's ``config.json``.

    Raises:
        PeftCorrError: if it cannot be read.
    """
    try:
        with readable(folder) as place:
            return read(place, local_files_only=True)
    except Exception as error:
        raise PeftCorrError(f"--weights {folder}: config.json cannot be read ({reason(error)}).") from error


def check_settings(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a configuration that differs from what the backbone's code prescribes.

    Raises:
        PeftCorrError: naming the first entry that does.
    """
    for key, value in wanted.items():
        there, here = (list(v) if isinstance(v, tuple) else v for v in (found[key], value))
        if there != here:
            raise PeftCorrError(
                f"--weights {folder}: config.json has {key} {found[key]}, but this backbone has {value}: choose the "
                "--backbone that these weights were made for."
            )


def load_whole(where: str, load: Callable[..., Any], **options: Any) -> nn.Module:
    """Load a model with its library's own loader, refusing weights that are not exactly its tensors.

    Args:
        where: what messages call the weights.
        load: ``from_pretrained`` of a class of transformers or diffusers, with what it loads from.
        options: of the loader.

    Raises:
        PeftCorrError: if a tensor is missing, too many or of another shape, or the file cannot be read.
    """
    try:
        model: nn.Module
        with _without_table():
            model, report = load(output_loading_info=True, **options)
    except Exception as error:
        raise PeftCorrError(
            f"{where} does not fit its config.json ({reason(error)}): fetch the file again, or choose the --backbone "
            "that it was made for."
        ) from error
    missing = set(report["missing_keys"]) - {"embeddings.mask_token"}  # only masked pretraining reads it
    check_tensor_names(where, missing, report["unexpected_keys"])
    return model


@contextmanager
def _without_table() -> Iterator[None]:
    """Keep transformers from printing a table of tensors that do not fit, by whatever names a file has for them."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def check_tensor_names(file: str, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Refuse a file that does not hold exactly the model's tensors.

    Raises:
        PeftCorrError: if one is missing, or is too many.
    """
    lost, odd = ([shortened(name, 100) for name in sorted(names)] for names in (missing, unexpected))
    if lost and odd:
        raise PeftCorrError(
            f"{file} is of another model: it lacks {lost[0]} and {len(lost) - 1} other tensors, and has {odd[0]} and "
            f"{len(odd) - 1} others that there is no place for: choose the --backbone that it was made for."
        )
    if lost:
        raise PeftCorrError(
            f"{file} lacks {len(lost)} tensors of the model, {lost[0]} among them: fetch the file again."
        )
    if odd:
        raise PeftCorrError(
            f"{file} has {len(odd)} tensors that the model has no place for, {odd[0]} among them: choose the "
            "--backbone that it was made for."
        )
