"""Runs on the Hugging Face hub: pushed with a card, fetched and held against their own digests.

A repository holds one run as an output folder does: ``records/ID.json``, ``adapters/ID.safetensors`` and, where there
is one, ``adapters/ID/`` as peft reads it; besides them a card and what is done to an image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftcorr.console import numbers
from peftcorr.errors import PeftCorrError, reason, shortened, shown
from peftcorr.model.card import card, preprocessing
from peftcorr.model.finished import sealed_run
from peftcorr.report.configuration import description
from peftcorr.results.record import Record
from peftcorr.results.store import Store, read_record

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_REVISION = re.compile(r"[\w./-]+", re.ASCII)
_RECORD = re.compile(r"records/([A-Za-z0-9_-][A-Za-z0-9_.-]{0,63})\.json", re.ASCII)
_OURS = ("records/", "adapters/")  # what a push replaces
_EMPTY = {".gitattributes", "README.md"}  # what a repository made on the hub's page begins with
_LARGEST_RECORD = 64 << 20  # bytes


def push(run_id: str, name: str, output: Path, private: bool = False) -> str:
    """Push a finished run to a repository of the hub, in one commit: adapter, record, preprocessing and model card.

    An earlier run in that repository makes room; whatever else it holds is left alone.

    Args:
        run_id: of a run in `output`, or the beginning of it.
        name: ``user/name``.
        output: folder of the runs.
        private: make the repository a private one.

    Returns:
        what was pushed and where to, in a sentence.

    Raises:
        PeftCorrError: if the run has no adapter, is not sealed or was changed, the name is none, there is no token, the
            hub refuses or cannot be reached, or the repository is public or holds something else.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    _require_name(name)
    store = Store(output)
    record = sealed_run(run_id, store, ("adapters",))
    files = _adapter_files(record, store)
    if get_token() is None:
        raise PeftCorrError(
            "Pushing to the hub needs a token: run `hf auth login`, or set HF_TOKEN to one that may write."
        )
    texts = {
        "README.md": card(record, name, peft=store.inside(store.peft_path(record.run_id)) in record.files),
        "preprocessing.json": json.dumps(preprocessing(record), indent=2) + "\n",
    }
    written = {**files, **{path: text.encode() for path, text in texts.items()}}
    api = HfApi()
    try:
        there = _repository(api, name, private)
        old = [file.rfilename for file in there.siblings or []]
        api.create_commit(
            name,
            [
                *(CommitOperationAdd(path, content) for path, content in written.items()),
                *(
                    CommitOperationDelete(path)
                    for path in old
                    if path.startswith(_OURS) and path not in written
                ),
            ],
            commit_message=f"{shortened(description(record), 100)} ({record.run_id})",
            parent_commit=there.sha,
        )
    except PeftCorrError:
        raise
    except Exception as error:  # the hub's client raises many kinds
        raise _told(name, error) from error
    return (
        f"{api.endpoint}/{name}: {description(record)}, {numbers.count(record.adapter_bytes)} bytes; it is loaded by "
        f'peftcorr.load("{name}").'
    )


def fetch(name: str) -> Path:
    """Fetch a run from the hub, or from the hub's local cache where the hub cannot be reached.

    Nothing but its record and its adapter is fetched, and both are held against the record's seal and digests. These
    tell accidents and edits, not authors: whose repository it is, is yours to judge.

    Args:
        name: ``user/name``, or ``user/name@revision`` for a branch, tag or commit.

    Returns:
        folder in the layout of an output folder, with this run alone.

    Raises:
        PeftCorrError: if there is no such repository, it cannot be reached, or what it holds is not one run as
            peftcorr pushed it.
    """
    from huggingface_hub import HfApi, snapshot_download

    name, _, revision = name.partition("@")
    _require_name(name)
    if revision and not _REVISION.fullmatch(revision):
        raise PeftCorrError(f"{shown(revision)} is no revision of {name}: give a branch, a tag or a commit.")
    at = revision or None
    try:
        info = HfApi().model_info(name, revision=at, files_metadata=True)
    except Exception as error:
        refused = _told(name, error, revision)
        if _answered(error):
            raise refused from error
        return _kept(name, at, refused)
    run_id = _only_run(name, (file.rfilename for file in info.siblings or []))
    wanted = [f"records/{run_id}.json", f"adapters/{run_id}.safetensors"]
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    if sizes[wanted[0]] > _LARGEST_RECORD:
        raise _no_run(name, f"its record has {numbers.memory(sizes[wanted[0]])}")
    try:
        folder = Path(snapshot_download(name, revision=at, allow_patterns=wanted))
    except Exception as error:
        raise _told(name, error, revision) from error
    return _checked(name, folder, run_id)


def _require_name(name: str) -> None:
    """Refuse what cannot be a repository's name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
        valid = _NAME.fullmatch(name) is not None
    except HFValidationError:
        valid = False
    if not valid:
        raise PeftCorrError(f"{shown(name)} is no repository's name: write it as user/name.")


def _adapter_files(record: Record, store: Store) -> dict[str, str | bytes | Path]:
    """A run's record and adapter by their paths in the repository."""
    if store.inside(store.adapter_path(record.run_id)) not in record.files:
        raise PeftCorrError(
            f"The run {record.run_id} ({shortened(record.strategy)}) trained nothing, so there is no adapter to push: "
            f"peftcorr.load(backbone={shown(record.backbone)}) gives the same model."
        )
    paths = [store.record_path(record.run_id)]
    for name in record.files:
        if name.startswith("adapters/"):
            place = store.root / name
            paths += (
                sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
            )
    return {store.inside(path): path for path in paths}


def _repository(api: HfApi, name: str, private: bool) -> ModelInfo:
    """The repository, made if it is not there; one that must not be written to is refused."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_repo(name, private=True if private else None)  # None: as the owner has set it
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
    there = api.model_info(name)
    if private and not there.private:
        raise PeftCorrError(
            f"{name} is there already and public: make it private in its settings, or choose another name."
        )
    held = {file.rfilename for file in there.siblings or []}
    if held - _EMPTY and not any(_RECORD.fullmatch(path) for path in held):
        raise PeftCorrError(
            f"{name} holds something else than a run ({shortened(min(held - _EMPTY))}, say): choose another name."
        )
    return there


def _only_run(name: str, paths: Iterable[str]) -> str:
    """Id of the one run among a repository's files."""
    found = [match[1] for match in map(_RECORD.fullmatch, paths) if match]
    if len(found) != 1:
        raise _no_run(name, f"{len(found)} records are in it" if found else "there is no record in it")
    return found[0]


def _kept(name: str, revision: str | None, refused: PeftCorrError) -> Path:
    """What an earlier fetch left in the hub's local cache."""
    from huggingface_hub import snapshot_download

    try:
        wanted = ["records/*.json"]
        folder = Path(
            snapshot_download(name, revision=revision, allow_patterns=wanted, local_files_only=True)
        )
    except Exception as error:
        raise refused from error
    if not any(folder.glob("adapters/*.safetensors")):  # that fetch was stopped
        raise refused
    return _checked(
        name, folder, _only_run(name, (f"records/{path.name}" for path in folder.glob("records/*")))
    )


def _checked(name: str, folder: Path, run_id: str) -> Path:
    """The folder, after its run was held against its own digests."""
    store = Store(folder)
    adapter = store.adapter_path(run_id)
    try:
        record = read_record(store.record_path(run_id))
    except PeftCorrError as error:
        raise _no_run(name, f"its record is not valid: {reason(error.__cause__ or error)}") from error
    if record.status != "ok" or record.schema_version == 1:
        raise _no_run(name, "its run failed" if record.status != "ok" else "nothing seals its record")
    written = record.files.get(store.inside(adapter))
    if written is None:
        raise _no_run(name, f"{shortened(record.strategy)} trained nothing, so it has no adapter")
    if not adapter.is_file():
        raise _no_run(name, "its adapter is missing")
    if store.file_digest(adapter) != {store.inside(adapter): written}:
        raise _no_run(name, "its adapter is not the one that its record tells of")
    return folder


def _no_run(name: str, why: str) -> PeftCorrError:
    return PeftCorrError(
        f"{name} on the hub is no run as peftcorr pushes it ({why}): check the name, or ask its owner to push it again."
    )


def _answered(error: Exception) -> bool:
    """Whether the hub itself said no; what it does when it is down or overloaded is no answer."""
    status = getattr(getattr(error, "response", None), "status_code", 500)
    return bool(400 <= status < 500 and status not in (408, 429))


def _told(name: str, error: Exception, revision: str = "") -> PeftCorrError:
    """What the hub's client met, as a sentence with its mend."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    status: Any = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError):
        return PeftCorrError(
            f"{name} is only given to those who accepted its terms: accept them on its page of the hub, then run "
            "`hf auth login` or set HF_TOKEN."
        )
    if isinstance(error, RevisionNotFoundError):
        return PeftCorrError(
            f"{name} has no revision {shown(revision)}: give a branch, a tag or a commit of it."
        )
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return PeftCorrError(
            f"There is no repository {name} on the hub, or it is private: check the name, and run `hf auth login` or "
            "set HF_TOKEN if it is private."
        )
    if status in (401, 403):
        return PeftCorrError(
            f"The hub does not let this token at {name}: give one that may write there (`hf auth login`, or HF_TOKEN), "
            "or choose a name of your own."
        )
    if status is not None and _answered(error):
        return PeftCorrError(f"The hub refuses {name} ({reason(error)}): mend that, or try again later.")
    if isinstance(error, ValueError):  # of the card's metadata, say
        return PeftCorrError(f"The hub's client refuses {name} ({reason(error)}).")
    return PeftCorrError(
        f"The Hugging Face hub could not be reached for {name} ({type(error).__name__}): check the network, and that "
        "neither HF_HUB_OFFLINE nor HF_ENDPOINT keeps it away."
    )
