"""A run pushed to a hub on this machine and fetched elsewhere gives the same features; a tampered one is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel

import peftcorr
from peftcorr.cli import main
from peftcorr.errors import PeftCorrError
from peftcorr.files import sealed
from peftcorr.model.finished import load_finished
from peftcorr.model.hub import fetch, push
from peftcorr.results.store import Store
from tests.commanding import Commands, run_of
from tests.hostile import assert_calm, refused
from tests.hub_server import TOKEN, Hub, hub
from tests.small_models import images

Files = dict[str, bytes]


@contextmanager
def known_hub(folder: Path) -> Iterator[Hub]:
    """A hub, and this process as one that knows it, with a cache of its own and a token."""
    from huggingface_hub import constants

    with hub() as state, pytest.MonkeyPatch.context() as patch:
        template = "".join(constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")[1:])
        patch.setattr(constants, "ENDPOINT", state.address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", state.address + template)
        patch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub-cache"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
        patch.setenv("HF_TOKEN", TOKEN)
        yield state


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Hub]:
    with known_hub(tmp_path) as state:
        yield state


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, trained: Commands, lora: str) -> Files:
    """What a push of the LoRA leaves in a repository."""
    with known_hub(tmp_path_factory.mktemp("pushed")) as state:
        push(lora, "user/name", trained.output)
        return state.repositories["user/name"].files


def test_what_is_fetched_elsewhere_gives_equal_features(
    there: Hub, trained: Commands, lora: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["push", lora[:8], "user/name", "--output", str(trained.output)]) == 0
    files = there.repositories["user/name"].files
    adapter = {f"adapters/{lora}/adapter_config.json", f"adapters/{lora}/adapter_model.safetensors"}
    assert set(files) == adapter | {
        ".gitattributes",
        "README.md",
        "preprocessing.json",
        f"records/{lora}.json",
        f"adapters/{lora}.safetensors",
    }
    assert json.loads(files["preprocessing.json"])["mean"] == [0.485, 0.456, 0.406]
    pictures = sorted((trained.photographs / "JPEGImages" / "bird").glob("*.jpg"))
    own = peftcorr.load(trained.output / lora, weights=trained.weights)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN")
    there.asked.clear()
    model = peftcorr.load("user/name", weights=trained.weights)
    assert fetch("user/name").is_relative_to(tmp_path / "hub-cache")
    assert torch.equal(model.features(pictures), own.features(pictures))
    plain = peftcorr.load(backbone="small", weights=trained.weights)
    assert not torch.equal(model.features(pictures), plain.features(pictures)), (
        "the adapter made no difference"
    )
    read = {line.partition("/resolve/")[2].partition("/")[2] for line in there.asked if "/resolve/" in line}
    assert read == {f"records/{lora}.json", f"adapters/{lora}.safetensors"}, "nothing else is fetched"


def test_peft_reads_its_own_form_as_the_card_says(
    files: Files, trained: Commands, lora: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    base = transformers.Dinov2Model.from_pretrained(trained.weights).eval()
    model = PeftModel.from_pretrained(base, str(tmp_path), subfolder=f"adapters/{lora}")
    record = trained.store.read(lora)
    assert record is not None
    backbone = load_finished(record, trained.store, trained.weights).backbone
    with torch.inference_mode():
        expected = backbone.features(images())
        tokens = model(images()).last_hidden_state[:, 1:]
    found = tokens.transpose(1, 2).reshape(expected.shape)
    assert (found - expected).norm() / expected.norm() < 1e-5


def test_another_push_takes_the_place_of_the_first(
    there: Hub, files: Files, trained: Commands, lora: str
) -> None:
    repository = there.repository("user/name", files)
    first = repository.head
    push(run_of(trained, "adapter"), "user/name", trained.output)
    assert [path for path in repository.files if lora in path] == []
    assert b"# adapter on" in repository.files["README.md"]
    assert Store(fetch("user/name")).records()[0].strategy == "adapter"
    assert Store(fetch(f"user/name@{first}")).records()[0].strategy == "lora"


def test_a_private_one_is_private(
    there: Hub,
    trained: Commands,
    lora: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    push(lora, "user/name", trained.output, private=True)
    assert there.repositories["user/name"].private
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PeftCorrError, match="There is no repository user/name on the hub, or it is private"):
        fetch("user/name")


def test_what_must_not_be_written_to_is_left_alone(
    there: Hub, trained: Commands, lora: str, capsys: pytest.CaptureFixture[str]
) -> None:
    there.repository("user/public", {"README.md": b""})
    there.repository("user/mine", {"README.md": b"mine", "model.bin": b"mine"})
    for name, options, said in (
        ("user/public", ["--private"], "is there already and public"),
        ("user/mine", [], "holds something else than a run ('model.bin', say)"),
        ("other/name", [], "does not let this token at other/name"),
        ("name", [], "'name' is no repository's name: write it as user/name"),
        ("user/../name", [], "is no repository's name"),
    ):
        line = refused(capsys, "push", lora, name, *options, "--output", str(trained.output))
        assert said.replace("'model.bin'", "model.bin") in line
    assert [len(one.commits) for one in there.repositories.values()] == [1, 1]


def test_no_token(
    there: Hub,
    trained: Commands,
    lora: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    line = refused(capsys, "push", lora, "user/name", "--output", str(trained.output))
    assert "needs a token: run `hf auth login`, or set HF_TOKEN" in line
    assert there.asked == []


def test_no_hub(
    there: Hub,
    trained: Commands,
    lora: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there.status = 503
    arguments = ["push", lora, "user/name", "--output", str(trained.output)]
    assert "hub could not be reached for user/name" in refused(capsys, *arguments)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    line = refused(capsys, *arguments)
    assert "could not be reached for user/name (ConnectError): check the network" in line


def test_a_run_that_cannot_be_shared(
    there: Hub, trained: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = run_of(trained, "frozen")
    line = refused(capsys, "push", frozen, "user/name", "--output", str(trained.output))
    assert f"The run {frozen} (frozen) trained nothing, so there is no adapter to push" in line
    first = Path(__file__).parents[2] / "leaderboard"
    line = refused(capsys, "push", "055775ff4ffa2e38", "user/name", "--output", str(first))
    assert "of version 1, which nothing seals" in line
    assert there.asked == []


def test_a_changed_adapter_is_not_pushed(
    there: Hub, trained: Commands, lora: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained.store.adapter_path(lora)
    kept = path.read_bytes()
    try:
        for content in (kept[:-1] + b"\0", None):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            line = refused(capsys, "push", lora, "user/name", "--output", str(trained.output))
            assert f"{lora}.safetensors is {'missing' if content is None else 'changed'}" in line
            path.write_bytes(kept)
    finally:
        path.write_bytes(kept)
    assert there.asked == []


def edited(content: bytes, seal: bool, **more: Any) -> bytes:
    document = {**json.loads(content), **more}
    return json.dumps(sealed(document) if seal else document).encode()


def _record(seal: bool, **more: Any) -> Callable[[Files, str], None]:
    def change(files: Files, run_id: str) -> None:
        name = f"records/{run_id}.json"
        files[name] = edited(files[name], seal, **more)

    return change


def _adapter(content: bytes | None) -> Callable[[Files, str], None]:
    def change(files: Files, run_id: str) -> None:
        name = f"adapters/{run_id}.safetensors"
        files[name] = content or b""
        if content is None:
            del files[name]

    return change


def _second_record(files: Files, run_id: str) -> None:
    files["records/0123456789abcdef.json"] = b"{}"


def _escaping(files: Files, run_id: str) -> None:
    for name in list(files):
        if name.startswith("records/"):
            files[f"records/../../../{Path(name).name}"] = files.pop(name)


TAMPERED = [
    (_record(False, seed=7), "its record is not valid: its seal does not fit"),
    (_record(True, recipe={}), "its record is not valid: its name, its run_id and its recipe do not agree"),
    (_record(True, status="failed"), "its run failed"),
    (_record(True, files={}), "trained nothing, so it has no adapter"),
    (_record(True, strategy=["\x1b"]), "its record is not valid"),
    (_adapter(b"\x80\x04pickled"), "its adapter is not the one that its record tells of"),
    (_adapter(None), "its adapter is missing"),
    (_second_record, "2 records are in it"),
    (_escaping, "there is no record in it"),
]


@pytest.mark.parametrize(("change", "said"), TAMPERED)
def test_a_tampered_repository(
    there: Hub, files: Files, lora: str, change: Callable[[Files, str], None], said: str
) -> None:
    own = dict(files)
    change(own, lora)
    there.repository("user/name", own)
    with pytest.raises(PeftCorrError, match="user/name on the hub is no run as peftcorr pushes it") as caught:
        fetch("user/name")
    assert said in str(caught.value)
    assert_calm(str(caught.value))
    assert len(str(caught.value)) < 400


def test_a_record_of_gigabytes_is_not_fetched(
    there: Hub, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.repository("user/name", files)
    monkeypatch.setattr("peftcorr.model.hub._LARGEST_RECORD", 100)
    with pytest.raises(PeftCorrError, match="its record has"):
        fetch("user/name")
    assert not [line for line in there.asked if "/resolve/" in line]


def test_without_the_hub_what_was_fetched_before_is_there(there: Hub, files: Files) -> None:
    there.repository("user/name", files)
    there.repository("user/other", {})
    folder = fetch("user/name")
    there.status = 503
    assert fetch("user/name") == folder
    with pytest.raises(PeftCorrError, match="could not be reached for user/other"):
        fetch("user/other")
    # An answer is an answer: what its owner took away is not given from the cache.
    there.status = None
    del there.repositories["user/name"]
    with pytest.raises(PeftCorrError, match="There is no repository user/name"):
        fetch("user/name")


def test_no_such_name_or_revision(there: Hub, files: Files) -> None:
    there.repository("user/name", files)
    for name, said in (
        ("user/none", "There is no repository user/none"),
        ("user/name@gone", "user/name has no revision 'gone'"),
        ("user/name@a b", "is no revision of user/name"),
        ("name", "write it as user/name"),
        (f"user/{'x' * 5000}", "is no repository's name"),
        ("user/\x1b[31m", "is no repository's name"),
    ):
        with pytest.raises(PeftCorrError) as caught:
            fetch(name)
        assert said in str(caught.value)
        assert len(str(caught.value)) < 400


def test_the_cache_of_another_is_held_against_its_digests_too(there: Hub, files: Files, lora: str) -> None:
    there.repository("user/name", files)
    adapter = fetch("user/name") / "adapters" / f"{lora}.safetensors"
    blob = Path(os.path.realpath(adapter))
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    there.status = 503
    with pytest.raises(PeftCorrError, match="its adapter is not the one that its record tells of"):
        fetch("user/name")
