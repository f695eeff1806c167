"""How many processors there are to share work among."""

from __future__ import annotations

import os

SHARE = "PEFTCORR_PROCESSORS"
"""Environment variable with how many a worker was given where the system does not bind it to them."""


def processors() -> int:
    """Processors this process may use, which is fewer than the machine has in a container or for a worker."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get(SHARE, "")
    return max(1, min(found, int(given))) if given.isdigit() else found


def share_of_processors() -> int:
    """Processors of this process, where several of one run share those of the machine."""
    return max(1, processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
