"""What of a run's features is kept for later ones."""

from __future__ import annotations

import json

from tests.commanding import Commands


def test_features_of_what_was_trained_are_not_kept(commands: Commands) -> None:
    """They are scored once; those of the frozen backbone serve every run with other predictors."""
    assert commands.run("--strategy", "lora", "--steps", "1", "--feature-cache") == 0
    assert not (commands.folder / "cache" / "features").exists()
    assert commands.run("--strategy", "frozen", "--feature-cache") == 0
    [about] = (commands.folder / "cache" / "features").glob("*/about.json")
    assert json.loads(about.read_text())["weights"] == "small-weights"
    again = ("--strategy", "frozen", "--overwrite", "always")
    forwards = []
    for flag in ((), ("--feature-cache",)):
        assert commands.run(*again, *flag) == 0
        [record] = [record for record in commands.records() if record.strategy == "frozen"]
        assert record.cost is not None
        forwards.append(record.cost.encoder_forwards)
    assert forwards == [8, 0]
