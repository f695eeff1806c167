"""Digests of a split: of every value of its table and every byte of its images, and of nothing else."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from peftcorr.data import identity
from peftcorr.data.arrow import cached_table
from peftcorr.data.base import PairDataset
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.data.identity import annotation_digest, images_digest
from peftcorr.data.layouts.spair import SpairFolder
from peftcorr.errors import PeftCorrError

Rows = list[dict[str, Any]]
SCHEMA = PAIR_FEATURES.arrow_schema
FACTORS = [name for name in PAIR_FEATURES if SCHEMA.field(name).type == pa.int8()]


def rows() -> Rows:
    """Five pairs: with one keypoint or two, annotated sizes, boxes and factors or without, an umlaut."""
    made = []
    for number in range(5):
        points = [[number + 0.25, 2.0 * k] for k in range(1 + number % 2)]
        made.append(
            {
                "pair_id": f"pair-{number}",
                "category": "bird" if number < 3 else "kü",
                "source_image": f"{number}.jpg",
                "target_image": f"{number + 1}.jpg",
                "source_size": [60, 40 + number] if number != 1 else [],
                "target_size": [50, 30],
                "source_keypoints": points,
                "target_keypoints": [[x + 1, y] for x, y in points],
                "target_occluded": [k % 2 == 0 for k in range(len(points))] if number != 2 else None,
                "keypoint_ids": [f"k{k}" for k in range(len(points))],
                "source_box": [1.0, 2.0, 30.0, 40.0],
                "target_box": [0.5, 2.0, 30.0, 40.0] if number != 4 else [],
                "reference_length": 38.5 + number,
                **dict.fromkeys(FACTORS, number if number != 3 else None),
            }
        )
    assert made[0].keys() == PAIR_FEATURES.keys()
    return made


def as_table(content: Rows) -> datasets.Dataset:
    return datasets.Dataset(pa.Table.from_pylist(content, schema=SCHEMA))


def digest_of(table: datasets.Dataset) -> str:
    return annotation_digest(PairDataset("any", "test", Path(), table))


def plain(kind: pa.DataType) -> Any:
    return [] if pa.types.is_list(kind) else {"string": "", "bool": False}.get(str(kind), 0)


def changes(kind: pa.DataType, value: Any) -> Iterator[Any]:
    """Values of a column's type that differ from one by a single number, text or truth value, or are null or empty."""
    if value is None:
        yield plain(kind)
        return
    yield None
    if isinstance(value, list):
        yield []
        yield value[:-1]
        yield [*value, plain(kind.value_type)]
        for index, item in enumerate(value):
            for other in changes(kind.value_type, item):
                yield [*value[:index], other, *value[index + 1 :]]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, str):
        yield from ("", value + "x", value[:-1], value.upper())
    else:
        yield from (value + 1, *([value + 0.5, value + 1e-9] if isinstance(value, float) else []))


@pytest.mark.parametrize("name", PAIR_FEATURES)
def test_every_value_of_every_column_counts(name: str) -> None:
    kind = SCHEMA.field(name)
    column = [row[name] for row in rows()]
    columns = [column]
    for number, value in enumerate(column):
        columns += [[*column[:number], other, *column[number + 1 :]] for other in changes(kind.type, value)]
    distinct = {json.dumps(values): values for values in columns}
    assert len(distinct) >= 10
    tables = [pa.table({name: values}, pa.schema([kind])) for values in distinct.values()]
    assert len({digest_of(datasets.Dataset(table)) for table in tables}) == len(tables)


def _swap_columns(content: Rows) -> None:
    for row in content:
        row["source_box"], row["target_box"] = row["target_box"], row["source_box"]


def _move_between_rows(content: Rows) -> None:
    content[0]["keypoint_ids"], content[1]["keypoint_ids"] = ["k0", "k0"], ["k1"]


def _move_between_texts(content: Rows) -> None:
    content[0]["pair_id"], content[1]["pair_id"] = "pair-0p", "air-1"


def _move_between_points(content: Rows) -> None:
    (x, y), (z, w) = content[1]["source_keypoints"]
    content[1]["source_keypoints"] = [[x], [y, z, w]]


def _swap_rows(content: Rows) -> None:
    content[0], content[1] = content[1], content[0]


def _drop_a_row(content: Rows) -> None:
    del content[2]


def test_every_column_counts() -> None:
    found = {digest_of(as_table(rows()))} | {
        digest_of(as_table(rows()).remove_columns(n)) for n in SCHEMA.names
    }
    assert len(found) == 1 + len(SCHEMA)


@pytest.mark.parametrize(
    "change",
    [_swap_columns, _move_between_rows, _move_between_texts, _move_between_points, _swap_rows, _drop_a_row],
)
def test_the_place_of_a_value_counts(change: Callable[[Rows], None]) -> None:
    changed = copy.deepcopy(rows())
    change(changed)
    assert digest_of(as_table(changed)) != digest_of(as_table(rows()))


def test_the_way_a_table_is_held_does_not_count(tmp_path: Path) -> None:
    """In memory, mapped from a file, in chunks, picked by number, cut out of a longer one."""
    table = as_table(rows())
    expected = digest_of(table)
    table.save_to_disk(str(tmp_path / "saved"))
    source = SpairFolder.__new__(SpairFolder)
    source.cache, source._folder = tmp_path / "cache", tmp_path / "folder"
    source.config, source.root = SpairFolder.Config(), None
    mapped = cached_table(source, tmp_path, "test", "a stamp", rows)
    assert mapped.cache_files
    long = datasets.concatenate_datasets([as_table(rows()), table, as_table(rows())])
    parts = [as_table(rows()[start:end]) for start, end in ((0, 1), (1, 3), (3, 5))]
    for held in (
        datasets.load_from_disk(str(tmp_path / "saved")),
        mapped,
        mapped.select(range(5)),
        datasets.concatenate_datasets(parts),
        datasets.concatenate_datasets([mapped.select(range(2)), mapped.select([2, 3, 4])]),
        table.select([4, 3, 2, 1, 0]).select([4, 3, 2, 1, 0]),
        long.select(range(5, 10)),
        long.select(range(7)).select(range(5)),
    ):
        assert digest_of(held) == expected


def test_a_part_of_a_table_is_the_table_of_that_part() -> None:
    table = as_table(rows())
    for start, end in ((0, 1), (1, 2), (1, 4), (2, 5)):
        assert digest_of(table.select(range(start, end))) == digest_of(as_table(rows()[start:end]))


def test_what_nobody_reads_and_how_wide_numbers_are_does_not_count() -> None:
    """A plugin may leave the types to the library, and have columns of its own."""
    content = [{**row, "own": {"anything": number}} for number, row in enumerate(rows())]
    assert digest_of(datasets.Dataset.from_list(content)) == digest_of(as_table(rows()))
    for row in content:
        row |= dict.fromkeys((*FACTORS, "target_occluded")) | {"source_size": []}
    plain = datasets.Dataset.from_list(content)
    assert digest_of(plain) == digest_of(as_table([{k: row[k] for k in PAIR_FEATURES} for row in content]))


# Images


@pytest.fixture
def split(spair_root: Path, tmp_path: Path) -> PairDataset:
    return SpairFolder(SpairFolder.Config(), spair_root, tmp_path / "cache").load("test")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that were hashed."""
    names: list[str] = []
    sha256 = identity.sha256

    def counted(path: Path) -> str:
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(identity, "sha256", counted)
    return names


def write_again(path: Path, content: bytes) -> None:
    """Write a file at a later time than it has, whatever the clock's resolution."""
    later = path.stat().st_mtime_ns + 1_000
    path.write_bytes(content)
    os.utime(path, ns=(later, later))


def test_every_byte_of_every_image_counts(split: PairDataset, tmp_path: Path) -> None:
    seen = {images_digest(split, tmp_path / "cache")}
    images = sorted(split.image_root.rglob("*.jpg"))
    for image in images:
        content = image.read_bytes()
        for place in (0, len(content) // 2, -1):
            changed = bytearray(content)
            changed[place] ^= 1
            write_again(image, bytes(changed))
            seen.add(images_digest(split, tmp_path / "cache"))
        write_again(image, content)
    assert len(seen) == 1 + 3 * len(images)
    assert images_digest(split, tmp_path / "cache") in seen


def test_names_count(split: PairDataset, tmp_path: Path) -> None:
    """Two images that change places are others."""
    before = images_digest(split, tmp_path / "cache")
    one, other = sorted(split.image_root.rglob("*.jpg"))[:2]
    contents = one.read_bytes(), other.read_bytes()
    assert contents[0] != contents[1]
    write_again(one, contents[1])
    write_again(other, contents[0])
    assert images_digest(split, tmp_path / "cache") != before


def test_an_image_is_hashed_once(split: PairDataset, tmp_path: Path, hashed: list[str]) -> None:
    before = images_digest(split, tmp_path / "cache")
    assert len(hashed) == 6
    hashed.clear()
    assert images_digest(split, tmp_path / "cache") == before
    assert hashed == []
    touched = split.image_root / "cat" / "2008_000002.jpg"
    write_again(touched, touched.read_bytes())
    assert images_digest(split, tmp_path / "cache") == before
    assert hashed == [touched.name]
    assert images_digest(split, tmp_path / "another cache") == before


def test_what_is_remembered_of_one_folder_is_not_believed_of_another(
    split: PairDataset, tmp_path: Path, hashed: list[str]
) -> None:
    """Of the same size and time, and another content."""
    before = images_digest(split, tmp_path / "cache")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(split.image_root, elsewhere, copy_function=shutil.copy2)
    image = elsewhere / "cat" / "2008_000001.jpg"
    status, content = image.stat(), bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    other = PairDataset(split.name, split.split, elsewhere, split.table)
    assert images_digest(other, tmp_path / "cache") != before


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"images": {}, "seal": "0"}', b"\xff"])
def test_a_damaged_memory_is_made_anew(
    split: PairDataset, tmp_path: Path, hashed: list[str], damage: bytes
) -> None:
    before = images_digest(split, tmp_path / "cache")
    [memory] = (tmp_path / "cache" / "digests").iterdir()
    whole = memory.read_bytes()
    for content in (damage, whole.replace(b'"images": {"', b'"images": {"x', 1)):
        memory.write_bytes(content)
        hashed.clear()
        assert images_digest(split, tmp_path / "cache") == before
        assert len(hashed) == 6
        assert memory.read_bytes() == whole


def test_a_hash_that_was_edited_is_not_believed(split: PairDataset, tmp_path: Path) -> None:
    before = images_digest(split, tmp_path / "cache")
    [memory] = (tmp_path / "cache" / "digests").iterdir()
    text = memory.read_text(encoding="utf-8")
    known = json.loads(text)["images"]["cat/2008_000001.jpg"][-1]
    memory.write_text(text.replace(known, "0" * 64), encoding="utf-8")
    assert images_digest(split, tmp_path / "cache") == before


def test_an_image_that_is_gone_is_named(split: PairDataset, tmp_path: Path) -> None:
    gone = split.image_root / "train" / "2008_000003.jpg"
    gone.unlink()
    with pytest.raises(PeftCorrError, match=f"Cannot read the image {gone}: No such file"):
        images_digest(split, tmp_path / "cache")
