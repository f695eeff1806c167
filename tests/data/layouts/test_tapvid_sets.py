"""TAP-Vid's other sets as they are published: a list of videos, several files, and frames as bytes of JPEG files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from peftcorr.data.layouts.tapvid import (
    Tapvid,
    TapvidDavis,
    TapvidKinetics,
    TapvidRgbStacking,
    TapvidRobotap,
)
from peftcorr.errors import PeftCorrError
from tests.small_videos import Video, make_video, write_pickle


def jpeg(frame: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def encoded(video: Video, kind: Callable[[Any], Any] = np.array) -> dict[str, Any]:
    """A video with its frames as bytes; in an array of numpy's they all take as many."""
    return {**video, "video": kind([jpeg(frame) for frame in video["video"]])}


def source(kind: type[Tapvid], root: Path, **options: Any) -> Tapvid:
    return kind(kind.Config.model_validate(options), root, root.parent / "cache")


def test_rgb_stacking_is_a_list_of_videos(tmp_path: Path) -> None:
    videos = [make_video(n, 5 + n) for n in range(3)]
    for inner in ("", "tapvid_rgb_stacking"):
        root = tmp_path / f"root{inner}"
        write_pickle(root / inner / "tapvid_rgb_stacking.pkl", videos)
        made = source(TapvidRgbStacking, root, queries="strided")
        dataset = made.load("test")
        assert (made.name, made.splits()) == ("tapvid_rgb_stacking-strided", ["test"])
        assert sorted(set(dataset.table["category"])) == ["0000", "0001", "0002"]
        named = write_pickle(tmp_path / "davis" / "tapvid_davis.pkl", dict(zip("abc", videos, strict=True)))
        other = source(TapvidDavis, named, queries="strided").load("test")
        assert dataset.table["target_keypoints"][:] == other.table["target_keypoints"][:]


@pytest.mark.parametrize("kind", [np.array, list, tuple], ids=["array", "list", "tuple"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_kinetics_is_several_lists_of_encoded_videos(tmp_path: Path, kind: Any, protocol: int) -> None:
    videos = [make_video(n, 5) for n in range(3)]
    root = tmp_path / "root"
    write_pickle(root / "0000_of_0010.pkl", [encoded(video, kind) for video in videos[:2]], protocol)
    write_pickle(root / "0001_of_0010.pkl", [encoded(videos[2], kind)], protocol)
    dataset = source(TapvidKinetics, root).load("test")
    names = ["0000_of_0010-0000", "0000_of_0010-0001", "0001_of_0010-0000"]
    assert sorted(set(dataset.table["category"])) == names
    for name, video in zip(names, videos, strict=True):
        for number, frame in enumerate(video["video"]):
            with Image.open(io.BytesIO(jpeg(frame))) as image:
                expected = image.resize((256, 256), Image.Resampling.LANCZOS)
            with Image.open(dataset.image_root / name / f"{number:05d}.png") as found:
                assert (np.asarray(found) == np.asarray(expected)).all()


def test_robotap_is_several_dicts(tmp_path: Path) -> None:
    root = tmp_path / "robotap_unpacked"
    for split in range(2):
        write_pickle(
            root / "robotap" / f"robotap_split{split}.pkl", {f"take-{split}": encoded(make_video(split))}
        )
    assert set(source(TapvidRobotap, root).load("test").table["category"]) == {"take-0", "take-1"}
    write_pickle(root / "robotap" / "robotap_split1.pkl", {"take-0": encoded(make_video(1))})
    with pytest.raises(
        PeftCorrError, match=r"robotap_split1\.pkl: the video 'take-0' is in another of its files"
    ):
        source(TapvidRobotap, root).load("test")
    assert len(list((tmp_path / "cache").glob("tapvid/*/*/"))) == 1, "nothing half written stays"


def test_a_new_file_of_a_set_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_pickle(root / "0000_of_0002.pkl", [make_video(0)])
    assert len(set(source(TapvidKinetics, root).load("test").table["category"])) == 1
    write_pickle(root / "0001_of_0002.pkl", [make_video(1)])
    assert len(set(source(TapvidKinetics, root).load("test").table["category"])) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda video: {**video, "video": [*video["video"][:-1], b"no picture"]},
            "frame 6 in video of 'x' cannot be",
        ),
        (lambda video: {**video, "video": video["video"][:-1]}, "6 frames, .* do not fit each other"),
        (
            lambda video: {**video, "video": [*video["video"][:-1], "text"]},
            "video of the video 'x' is list; it must",
        ),
        (lambda video: {**video, "video": []}, "video of the video 'x' is list; it must"),
        (
            lambda video: {**video, "video": [jpeg(np.zeros((9, 9, 3), np.uint8))[:-40]] * 7},
            "frame 0 in video of 'x'",
        ),
        (
            lambda video: {**video, "video": np.array([[b"a"] * 7])},
            r"video of the video 'x' is .S1 \(1, 7\); it must be",
        ),
    ],
)
def test_unsound_frames_name_the_video(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    root = write_pickle(tmp_path / "root" / "robotap_split0.pkl", {"x": change(encoded(make_video(0), list))})
    with pytest.raises(PeftCorrError, match=message) as caught:
        source(TapvidRobotap, root).load("test")
    assert "robotap_split0.pkl" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [TapvidRgbStacking, TapvidKinetics, TapvidRobotap])
def test_missing_files_are_named(tmp_path: Path, kind: type[Tapvid]) -> None:
    with pytest.raises(PeftCorrError) as caught:
        source(kind, tmp_path)
    assert f"has no {kind.published}: mend --data-root {kind.registered}=PATH." in str(caught.value)


def test_videos_are_told_apart_by_what_they_show_where_they_are_numbered(tmp_path: Path) -> None:
    """The first video of every list is 0000, whatever it is; and a copy among others has another number."""
    tested, others = [make_video(n, 5) for n in range(3)], [make_video(n, 5) for n in (7, 8)]
    root = tmp_path / "root"
    write_pickle(root / "tapvid_rgb_stacking.pkl", tested)
    write_pickle(root / "tapvid_val.pkl", others)

    def val() -> set[str]:
        chosen = source(TapvidRgbStacking, root, occlusion_threshold="val")
        return set(chosen.load("val").table["category"])

    assert val() == {"0000", "0001"}
    shorter = {**tested[2], "points": tested[2]["points"][1:], "occluded": tested[2]["occluded"][1:]}
    for copied, name in (([*others, shorter], "0002"), ({"another": shorter}, "another")):
        write_pickle(root / "tapvid_val.pkl", copied)
        with pytest.raises(PeftCorrError, match=f"tapvid_val.pkl holds the video '{name}' of tapvid_rgb"):
            val()
