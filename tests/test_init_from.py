"""A training that starts from another one's adapter: where it begins, what its record says, and what is refused."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from peftcorr.engine.plan import finalise
from peftcorr.errors import PeftCorrError
from peftcorr.files import sha256
from peftcorr.pipeline import Trainer
from peftcorr.recipe import resolve
from peftcorr.results.identity import run_id
from peftcorr.results.record import Record
from tests.commanding import Commands
from tests.small_folder import write_folder

QUICK = ("training.steps=1", "training.images=3", "training.validate_every=1", "training.learning_rate=0.05")
OTHER = 'dataset.hold_out={"keypoints": ["bird/0"]}'


def run(commands: Commands, *more: str, assignments: tuple[str, ...] = QUICK) -> Record:
    before = set(commands.store.run_ids())
    assert commands.run("--strategy", "lora", *more, assignments=assignments) == 0
    [one] = set(commands.store.run_ids()) - before
    record = commands.store.read(one)
    assert record is not None
    return record


def refused(
    commands: Commands, capsys: pytest.CaptureFixture[str], *more: str, assignments: tuple[str, ...] = QUICK
) -> str:
    capsys.readouterr()
    assert commands.run(*more, assignments=assignments) == 2
    return " ".join(capsys.readouterr().err.split())


def test_it_starts_from_the_adapter_and_its_record_names_the_chain(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(commands)
    adapter = commands.store.adapter_path(first.run_id)
    began = []
    fit = Trainer.run

    def watched(self: Trainer) -> object:
        own = self._strategy.state_dict(self._encoder.backbone)
        began.append({name: tensor.clone() for name, tensor in own.items()})
        return fit(self)

    monkeypatch.setattr(Trainer, "run", watched)
    more = write_folder(commands.folder / "more", seed=3)
    second = run(commands, "--data-root", str(more), "--init-from", first.run_id[:8])
    wanted = load_file(adapter)
    assert all((began[-1][name] == tensor).all() for name, tensor in wanted.items())
    [stage] = second.chain
    assert (stage.run_id, stage.dataset, stage.section["name"]) == (first.run_id, "photographs", "pairs")
    assert stage.adapter_sha256 == second.ingredients["init_from"] == sha256(adapter)
    assert second.recipe["init_from"] == first.run_id
    without = {name: value for name, value in second.ingredients.items() if name != "init_from"}
    assert run_id(second.recipe, without) != run_id(second.recipe, second.ingredients) == second.run_id
    renamed = {**second.recipe, "init_from": "0" * 16}
    assert run_id(renamed, second.ingredients) == second.run_id, "its adapter is what counts, not its name"
    assert "chain" not in first.model_dump(mode="json")
    assert "init_from" not in first.recipe

    third = run(commands, "--init-from", second.run_id)
    assert [stage.run_id for stage in third.chain] == [first.run_id, second.run_id]
    assert first.leakage is not None
    assert second.leakage is not None
    assert third.leakage is not None
    assert "not_compared" not in first.model_dump(mode="json")["leakage"]["photographs/test"]
    assert second.leakage["more/test"].not_compared == [first.run_id], "its folder is not given any more"
    assert third.leakage["photographs/test"].not_compared == [second.run_id]
    assert (
        "trained on photographs, then more, then photographs" in (commands.output / "README.md").read_text()
    )

    start = ("--init-from", first.run_id)
    said = refused(commands, capsys, "--strategy", "lora", *start, assignments=(*QUICK, OTHER))
    assert (
        f"the run {first.run_id} was trained on 'photographs' without the recipe's dataset.hold_out" in said
    )
    said = refused(commands, capsys, "--strategy", "lora", *start, assignments=(*QUICK, "strategy.rank=2"))
    assert "strategy with other options" in said
    assert "that run has the strategy 'lora'" in refused(commands, capsys, "--strategy", "last_k", *start)
    none = refused(commands, capsys, "--strategy", "lora", *start, assignments=("training.steps=0",))
    assert "this run trains nothing" in none
    assert "There is no finished run 0f0f" in refused(
        commands, capsys, "--strategy", "lora", "--init-from", "0f0f"
    )
    adapter.write_bytes(adapter.read_bytes()[:-4] + b"\0\1\2\3")
    assert "was changed since the run" in refused(commands, capsys, "--strategy", "lora", *start)


def test_what_is_held_out_has_to_come_to_the_same(commands: Commands) -> None:
    dataset = {"name": "pairs", "hold_out": {"keypoints": ["bird/0"]}}
    own = {"strategy": "lora", "backbone": "small", "dataset": dataset, "training": {"steps": 1, "images": 3}}
    [first] = commands.swept(own)
    again = resolve({**own, "init_from": first.plan.run_id}, [], None)
    assert finalise(again, commands.bench()).initial is not None
    for path in commands.photographs.glob("PairAnnotation/trn/*:bird.json"):
        pair = json.loads(path.read_text())
        path.write_text(
            json.dumps({**pair, "kps_ids": ["9" if name == "4" else name for name in pair["kps_ids"]]})
        )
    with pytest.raises(
        PeftCorrError, match=r"with the same dataset\.hold_out on another annotation, so perhaps on what"
    ):
        finalise(again, commands.bench())


def test_old_records_have_the_same_id(trained: Commands) -> None:
    """A key that is not used stands nowhere."""
    for record in trained.records():
        written = json.loads((trained.output / "records" / f"{record.run_id}.json").read_text())
        assert not {"chain", "generalisation"} & written.keys()
        assert "init_from" not in written["recipe"]
        assert "hold_out" not in written["recipe"]["dataset"]
