"""The site's scripts write numbers as the reports do."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

from peftcorr.console import numbers
from peftcorr.console.numbers import Spread

NODE = shutil.which("node")

SIZES = (None, 0, 7, 999, 1000, 150_496, 1_000_000, 623_400_000, 1_234_000_000)
POINTS = (-0.004, -0.0, 0.0, 0.004, -0.006, 1.234, -12.3)
SECONDS = (None, 0, 0.3, 42.2, 61, 3599, 3600, 3840, 90_000)
SPREADS = (
    Spread(71.883, 0.312, (70.06, 73.51)), Spread(71.883, None, (70.06, 73.51)), Spread(71.883, 0.312),
    Spread(71.883), Spread(0.0, 0.0, (-0.04, 0.04)),
)  # fmt: skip


@pytest.mark.skipif(NODE is None, reason="needs node, which runs the site's script")
def test_the_script_writes_what_the_reports_write() -> None:
    asked: list[tuple[str, list[Any]]] = [
        *(("memory", [one]) for one in SIZES),
        *(("signed", [one]) for one in POINTS),
        *(("duration", [one]) for one in SECONDS),
        *(
            ("spread", [[one.mean, one.sd, *(one.interval or (None, None))], wide])
            for one in SPREADS
            for wide in (True, False)
        ),
    ]
    expected = [
        *map(numbers.memory, SIZES),
        *map(numbers.signed, POINTS),
        *map(numbers.duration, SECONDS),
        *(write(one) for one in SPREADS for write in (numbers.with_interval, numbers.percentage)),
    ]
    script = (files("peftcorr.report.site") / "assets" / "values.js").read_text(encoding="utf-8")
    calls = f"{json.dumps(asked)}.map(([name, values]) => window.peftcorr[name](...values))"
    program = f"globalThis.window = globalThis; {script}; console.log(JSON.stringify({calls}))"
    assert NODE is not None
    ran = subprocess.run([NODE, "-"], input=program, capture_output=True, text=True, timeout=60, check=True)
    assert dict(zip(map(str, asked), json.loads(ran.stdout), strict=True)) == dict(
        zip(map(str, asked), expected, strict=True)
    )
