"""The cache of frozen features: what is used is right, and what is not right is never used."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.data.images import ImageStore
from peftcorr.engine.evaluate import Evaluator
from peftcorr.errors import PeftCorrError
from peftcorr.features import cache as cache_module
from peftcorr.features.cache import FeatureCache, NoRoom
from peftcorr.features.encode import Encoder
from peftcorr.files import remove_dead
from peftcorr.machine.folders import Place
from peftcorr.matching.predictors import Argmax
from tests.features.desk import IMAGES, SHAPE, Desk, images_in
from tests.small_models import Small, build, save_weights


def test_a_second_run_encodes_nothing_and_predicts_the_same(desk: Desk) -> None:
    plain, forwards = desk.score(cached=False)
    assert forwards == IMAGES
    assert not desk.cache.exists()
    first, forwards = desk.score()
    assert forwards == IMAGES
    second, forwards = desk.score()
    assert forwards == 0
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(second, plain)


def test_the_size_is_said_before_anything_is_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[bool] = []
    monkeypatch.setattr(desk.said, "say", lambda text: there.append((desk.cache / "features").exists()))
    desk.score()
    assert there == [False]
    monkeypatch.undo()
    desk.score()
    assert desk.said.lines == [f"Feature cache: the features of all {IMAGES} images are kept."]


def test_images_that_are_kept_are_not_decoded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.score()
    monkeypatch.setattr(ImageStore, "get", lambda *arguments: pytest.fail("decoded"))
    assert desk.score()[1] == 0


def test_a_file_of_other_weights_in_the_right_place_is_rebuilt(desk: Desk, tmp_path: Path) -> None:
    other = build(Small, save_weights(Small, tmp_path / "other", seed=5))
    plain, _ = desk.score()
    [folder] = {path.parent for path in desk.files()}
    different, _ = desk.score(other)
    assert not np.array_equal(different, plain)
    for path in desk.files():
        if path.parent == folder:
            path.unlink()
        else:
            shutil.move(path, folder / path.name)
    found, forwards = desk.score()
    assert forwards == IMAGES
    np.testing.assert_array_equal(found, plain)


def _changed_weight(backbone: Dinov2) -> Dinov2:
    with torch.no_grad():
        backbone.model.encoder.layer[2].mlp.fc2.bias[3] += 1e-6
    return backbone


class Other(Small):
    """The same tensors read by other code: features come from the block before."""

    def tail(self, state: object, k: int) -> torch.Tensor:
        return super().tail(state, k) * 1.0  # type: ignore[arg-type]


def test_what_changes_a_feature_has_a_folder_of_its_own(desk: Desk, tmp_path: Path) -> None:
    desk.score()
    assert desk.score(_changed_weight(build(Small, desk.weights)))[1] == IMAGES
    assert desk.score(mode="pad")[1] == IMAGES
    assert desk.score(build(Other, desk.weights))[1] == IMAGES
    assert len({path.parent for path in desk.files()}) == 4
    assert desk.score()[1] == 0


def test_a_changed_photograph_is_encoded_again(desk: Desk) -> None:
    desk.score()
    path = next((desk.root / "JPEGImages" / "bird").glob("*.jpg"))
    times = path.stat()
    with Image.open(path) as image:
        size = image.size
    Image.new("RGB", size, "red").save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    found, forwards = desk.score()
    assert forwards == 1
    np.testing.assert_allclose(found, desk.score(cached=False)[0], rtol=0, atol=1e-3)


def test_pixels_decoded_before_a_photograph_was_replaced_are_not_kept_under_its_new_content(
    desk: Desk,
) -> None:
    """The workbench keeps decoded images for later runs of a process; a photograph is copied over in between."""
    split, encoder = desk.split(), Encoder(build(Small, desk.weights))
    split.data.decode(split.store)
    path = split.store.image_root / split.data.images[2]
    with Image.open(path) as image:
        Image.new("RGB", image.size, "red").save(path)
    cache = FeatureCache(desk.cache, "")
    Evaluator(encoder, Accelerator(cpu=True), 3, desk.said, cache=cache).predict(
        split, [Argmax(Argmax.Config())]
    )
    found, forwards = desk.score()
    assert forwards == 0
    np.testing.assert_allclose(found, desk.score(cached=False)[0], rtol=0, atol=1e-3)


def test_a_photograph_that_changes_while_it_is_encoded_is_not_kept(desk: Desk) -> None:
    split, encoder = desk.split(), Encoder(build(Small, desk.weights))
    every = np.arange(IMAGES)
    shelf = FeatureCache(desk.cache, "").shelf(split.data, split.store, encoder, every, SHAPE, desk.said.say)
    frames = [split.store.frame(path) for path in split.data.images]
    (split.store.image_root / split.data.images[2]).touch()
    shelf.put(every, torch.randn(IMAGES, *SHAPE), frames)
    assert sorted(shelf.get(every)) == [0, 1, 3, 4, 5, 6, 7]


def test_a_missing_photograph_is_one_sentence(desk: Desk) -> None:
    split = desk.split()
    (split.store.image_root / split.data.images[0]).unlink()
    with pytest.raises(PeftCorrError, match="Cannot read the image"):
        desk.score()


def test_several_writers_at_once(desk: Desk) -> None:
    """Each keeps another part of the same images, twice over; all of it is there and sound afterwards."""
    split, encoder = desk.split(), Encoder(build(Small, desk.weights))
    features = torch.randn(IMAGES, *SHAPE)
    frames = [split.store.frame(path) for path in split.data.images]
    every = np.arange(IMAGES)
    cache = FeatureCache(desk.cache, "")
    shelves = [cache.shelf(split.data, split.store, encoder, every, SHAPE, desk.said.say) for _ in range(6)]
    errors: list[Exception] = []

    def write(number: int) -> None:
        try:
            for start in range(number % 3, IMAGES, 2):
                part = every[start : start + 3]
                shelves[number].put(part, features[part], [frames[image] for image in part])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    kept = cache.shelf(split.data, split.store, encoder, every, SHAPE, desk.said.say).get(every)
    assert sorted(kept) == every.tolist()
    for image, found in kept.items():
        assert torch.equal(found.feature, features[image])
        assert found.frame == frames[image]
    assert sum(map(images_in, desk.files())) == IMAGES  # nothing is kept twice


def test_a_disk_without_room_is_refused_before_the_work(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(desk.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    encoded: list[int] = []
    monkeypatch.setattr(Encoder, "features", lambda *arguments: encoded.append(1))
    with pytest.raises(PeftCorrError, match=r"features of 8 images need .* free") as caught:
        desk.score()
    assert not encoded
    assert not desk.cache.exists()
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_has_no_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that share without being asked to go on then, whatever the cause."""

    def refuse(place: Place) -> None:
        raise PeftCorrError("Cannot write to it.")

    monkeypatch.setattr(Place, "require_writable", refuse)
    with pytest.raises(NoRoom, match="Cannot write to it"):
        desk.score()


def test_a_disk_that_fills_up_leaves_nothing_half(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "save_file", full)
    with pytest.raises(PeftCorrError, match="No space left") as caught:
        desk.score()
    assert "\n" not in str(caught.value)
    assert desk.files() == []
    assert {path.name for path in desk.cache.rglob("*") if path.is_file()} == {".lock", "about.json"}


def test_what_a_killed_process_left_is_removed_by_the_next_start(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """No handler of ours runs."""

    def killed(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise Killed

    monkeypatch.setattr(cache_module, "save_file", killed)
    monkeypatch.setattr("peftcorr.files._remove", lambda path: None)
    with pytest.raises(Killed):
        desk.score()
    monkeypatch.undo()
    [left] = [path for path in desk.cache.rglob("*") if path.is_file() and path.read_bytes() == b"half"]
    remove_dead(desk.cache)
    assert not left.exists()
    assert desk.score()[1] == IMAGES


def test_a_cache_that_cannot_be_written_is_read_where_it_has_everything(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And refused before the first image is encoded where it has not."""
    plain, _ = desk.score()

    def refuse(place: Place) -> None:
        raise PeftCorrError(f"Cannot write to the {place.what} {place.path}")

    monkeypatch.setattr(Place, "require_writable", refuse)
    found, forwards = desk.score()
    assert forwards == 0
    np.testing.assert_array_equal(found, plain)
    desk.files()[0].unlink()
    monkeypatch.setattr(Encoder, "features", lambda *arguments: pytest.fail("encoded"))
    with pytest.raises(PeftCorrError, match=r"Cannot write to the feature cache .*features"):
        desk.score()
