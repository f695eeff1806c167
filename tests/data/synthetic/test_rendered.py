from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from peftcorr import cli
from peftcorr.data.synthetic import SplitSizes, SyntheticConfig, generate
from peftcorr.data.synthetic import rendered as module
from peftcorr.data.synthetic.generate import images_written
from peftcorr.data.synthetic.rendered import rendered, rendering_ahead
from peftcorr.errors import PeftCorrError

CONFIG = SyntheticConfig(
    categories=("car",),
    images=SplitSizes(trn=2, val=1, test=1),
    pairs=SplitSizes(trn=1, val=0, test=0),
    minimum_shared=1,
)


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Render without spawning processes; returns the names of the threads that did."""
    threads: list[str] = []

    def here(
        folder: Path,
        config: SyntheticConfig,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if not folder.exists():
            threads.append(threading.current_thread().name)
        generate(folder, config, 1, progress)

    monkeypatch.setattr(module, "generate", here)
    return threads


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_was_rendered_ahead_is_not_rendered_again(tmp_path: Path, renderings: list[str]) -> None:
    with rendering_ahead(tmp_path, CONFIG):
        folder = rendered(tmp_path, CONFIG)
    assert folder.is_dir()
    assert rendered(tmp_path, CONFIG) == folder
    assert len(renderings) == 1


def test_rendered_while_the_block_goes_on(tmp_path: Path, renderings: list[str]) -> None:
    folder = tmp_path / "synthetic" / CONFIG.fingerprint()
    with rendering_ahead(tmp_path, CONFIG):
        wait_for(folder.is_dir)
    assert renderings == ["rendering ahead"]


def test_leaving_the_block_ends_the_rendering_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()

    def endless(folder: Path, config: SyntheticConfig, progress: Callable[[int, int], None]) -> None:
        while True:
            progress(1, 4)
            told.set()

    monkeypatch.setattr(module, "generate", endless)
    with rendering_ahead(tmp_path, CONFIG):
        assert told.wait(30)
    assert "rendering ahead" not in [thread.name for thread in threading.enumerate()]
    monkeypatch.setattr(module, "generate", generate)
    assert rendered(tmp_path, CONFIG).is_dir()  # the lock is free again


def test_progress_of_a_rendering_that_another_process_does(tmp_path: Path, renderings: list[str]) -> None:
    folder = tmp_path / "synthetic" / CONFIG.fingerprint()
    annotation = folder.with_name(f".{folder.name}.making-1") / "ImageAnnotation" / "car"
    annotation.mkdir(parents=True)
    for name in ("a.json", "b.json"):
        (annotation / name).write_text("{}")
    seen: list[tuple[int, int]] = []
    other = FileLock(folder.with_name(f".{folder.name}.lock"))
    waiting = threading.Thread(
        target=rendered, args=(tmp_path, CONFIG, lambda done, total: seen.append((done, total)))
    )
    with other:
        waiting.start()
        wait_for(lambda: bool(seen))
        folder.mkdir()
    waiting.join()
    assert seen[0] == (2, 4)
    assert seen[-1] == (4, 4)
    assert renderings == []


def test_what_is_written_can_be_counted_meanwhile(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    folder = tmp_path / CONFIG.fingerprint()
    generate(folder, CONFIG, 1, lambda done, total: seen.append((done, images_written(folder), total)))
    assert seen == [(2, 2, 4), (3, 3, 4), (4, 4, 4)]  # the tasks are the splits
    assert images_written(folder) == 0


def test_a_cache_that_cannot_be_written_is_said_where_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        rendering_ahead(tmp_path / "file", CONFIG),
        pytest.raises(PeftCorrError, match="Cannot write the synthetic benchmark"),
    ):
        rendered(tmp_path / "file", CONFIG)


@pytest.mark.parametrize(
    ("arguments", "ahead"),
    [
        ([], True),
        (["--dataset", "synthetic"], True),
        (["--dataset", "synthetic", "pairs"], False),
        (["--dry-run"], False),
        (["--set", "dataset.seed=1"], False),
        (["--recipe", "some.yaml"], False),
    ],
)
def test_only_a_run_of_the_default_benchmark_renders_ahead(
    arguments: list[str], ahead: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEFTCORR_CACHE", str(tmp_path))
    begun: list[Path] = []

    @contextmanager
    def noted(cache: Path, config: SyntheticConfig) -> Iterator[None]:
        assert config == SyntheticConfig()
        begun.append(cache)
        yield

    monkeypatch.setattr(module, "rendering_ahead", noted)
    monkeypatch.setattr("peftcorr.commands.run._sweep", lambda *_: 0)
    assert cli.main(["run", *arguments]) == 0
    assert begun == ([tmp_path] if ahead else [])


def test_what_another_process_made_anew_meanwhile_is_left_alone(
    tmp_path: Path, renderings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered(tmp_path, CONFIG)
    looks = iter(["synthetic.json is not as it was written", None])
    monkeypatch.setattr(module, "unsealed", lambda folder: next(looks))
    rendered(tmp_path, CONFIG)
    assert len(renderings) == 1
