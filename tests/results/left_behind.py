"""An output folder as runs leave it, without running anything."""

from __future__ import annotations

from pathlib import Path

from peftcorr.files import seal_folder, write_json
from peftcorr.results.identity import run_id
from peftcorr.results.record import Record
from peftcorr.results.store import Store


def leave_run(root: Path, seed: int = 0, version: int = 2) -> str:
    """Write a record, and its predictions, adapter and folder in peft's form; returns the run's id."""
    recipe = {"seed": seed}
    ingredients = {"weights": "ab" * 32} if version == 2 else {}
    own = run_id(recipe, ingredients)
    store = Store(root)
    paths = store.predictions_path(own), store.adapter_path(own), store.peft_path(own)
    for path in (*paths[:2], paths[2] / "adapter_config.json", paths[2] / "adapter_model.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{path.name} of seed {seed}".encode())
    digests = {name: value for path in paths for name, value in store.file_digest(path).items()}
    record = {
        "schema_version": version,
        "run_id": own,
        "status": "ok",
        "recipe": recipe,
        "ingredients": ingredients,
        "files": digests if version == 2 else {},
        "strategy": "lora",
        "backbone": "tiny",
        "weights_id": "tiny",
        "weights_sha256": None,
        "official_weights": True,
        "dataset": "synthetic",
        "seed": seed,
    }
    store.write(Record.model_validate(record))
    return own


def leave_state(root: Path, run_id: str) -> Path:
    """Write a state of a training that was stopped, and the search of its learning rate; returns the state's folder."""
    folder = Store(root).state_path(run_id) / "step-00000002"
    folder.mkdir(parents=True)
    for name in ("adapter.safetensors", "best.safetensors", "optimizer.bin"):
        (folder / name).write_bytes(name.encode())
    seal_folder(folder)
    write_json(folder.parent / "search.json", {"points": []})
    return folder


def leave_choice(root: Path) -> Path:
    """Write the choice of a predictor; returns its path."""
    path = Store(root).predictor_path("tiny", "tiny", 224)
    write_json(path, {"radius": 1})
    return path
