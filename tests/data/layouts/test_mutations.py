"""Damaged annotation through every loader: each file gives a sound table or one sentence about that file, in time.

PEFTCORR_MUTATIONS sets how many files go through each (1000 for a release); the seeds count from 0.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import process_time

import pytest

from tests.data.layouts.mutation_cases import CASES, Case
from tests.data.layouts.mutation_outcomes import outcome

FILES = int(os.environ.get("PEFTCORR_MUTATIONS", "60"))


@pytest.mark.filterwarnings("ignore")  # scipy warns of some damage before it refuses it
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_damaged_annotation_gives_a_table_or_one_sentence(
    make: Callable[[Path, pytest.FixtureRequest], Case], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = make(tmp_path, request)
    assert outcome(case, tmp_path / "cache") == ("table", "")  # as it is without damage
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    for seed in range(FILES):
        what, raw = case.damage(Random(f"{make.__name__} {seed}"))
        case.path.write_bytes(raw)
        began = process_time()
        came, problem = outcome(case, tmp_path / "cache")
        slowest = max(slowest, process_time() - began)
        outcomes[came] += 1
        if problem:
            wrong.append(f"seed {seed} ({what[:200]}): {problem}")
    print(f"\n{make.__name__}: {dict(outcomes)} of {FILES}, slowest {slowest:.2f} s")
    assert not wrong, f"{len(wrong)} of {FILES}:\n" + "\n".join(wrong[:40])
    assert outcomes["table"] >= FILES // 50, "the damage never leaves a file sound"
    assert outcomes["error"] >= FILES // 4, "the damage does hardly any harm"
