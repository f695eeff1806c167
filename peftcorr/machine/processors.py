"""How many processors there are to share work among."""

from __future__ import annotations

import os


def processors() -> int:
    """Processors this process may use, which is fewer than the machine has in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_processors() -> int:
    """Processors of this process, where several of one run share those of the machine."""
    return max(1, processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
