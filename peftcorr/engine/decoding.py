"""Images of a training, decoded once a node: its processes share them out, and find all of them in one file.

A step gives an image now to one process and now to another. Without this each would sooner or later decode them all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from accelerate import PartialState

from peftcorr.data.correspondences import Correspondences
from peftcorr.data.frame import RESIZINGS
from peftcorr.data.images import ImageStore
from peftcorr.data.scratch import PREFIX, ScratchRows
from peftcorr.machine.agreement import everyones, neighbours


def decode(data: Correspondences, store: ImageStore) -> None:
    """Have every image of a split in the store of every process. All processes call it at the same time.

    Where the processes of a node see no common temporary folder, each decodes for itself.

    Raises:
        PeftCorrError: if an image cannot be decoded, or there is no room for them.
    """
    state = PartialState()
    if state.num_processes == 1:
        data.decode(store)
        return
    here, own = neighbours(), state.process_index
    sizes = dict(zip(data.images, data.sizes, strict=True))
    known = everyones([path in store for path in sizes])
    if all(all(there) for there in known):
        return
    file = _common_file(here[0] == own)
    path_there = everyones(None if file is None else file.name)[here[0]]
    with suppress(OSError):
        if file is None and path_there is not None:
            file = open(path_there, "r+b")  # noqa: SIM115
    seen = everyones(file is not None)
    if here[0] == own and file is not None:
        os.unlink(file.name)  # whoever has it open keeps it, and a crash leaves nothing
    rows, slots, mine = None, dict[str, int](), dict[str, int]()
    if len(here) > 1 and file is not None and all(seen[process] for process in here):
        slots, owners = _shared_out(list(sizes), [known[process] for process in here])
        row, dtype = (3, store.size, store.size), RESIZINGS[store.mode].dtype
        rows = ScratchRows.common("decoded images", file, len(slots), row, dtype)
        mine = {path: slots[path] for path, place in owners.items() if here[place] == own}
    else:
        data.decode(store)
    frames = everyones({} if rows is None else store.put_into(rows, mine, sizes))
    if rows is not None:
        found = {path: frame for process in here for path, frame in frames[process].items()}
        store.adopt(rows, slots, found, sizes)


def _common_file(leads: bool) -> IO[bytes] | None:
    """A new temporary file with a name, of the first process of a node."""
    if not leads:
        return None
    with suppress(OSError):
        return tempfile.NamedTemporaryFile(prefix=PREFIX, delete=False)
    return None


def _shared_out(
    images: Sequence[str], known: Sequence[Sequence[bool]]
) -> tuple[dict[str, int], dict[str, int]]:
    """Row of each image that not all of a node's processes have, and who writes it: one that has it, else in turn."""
    needed = [number for number in range(len(images)) if not all(there[number] for there in known)]
    owners = {}
    for turn, number in enumerate(needed):
        having = [place for place, there in enumerate(known) if there[number]]
        owners[images[number]] = having[0] if having else turn % len(known)
    return {images[number]: row for row, number in enumerate(needed)}, owners
