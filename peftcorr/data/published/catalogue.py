"""What is published of each dataset: where its archives are, what they unpack to and how much there must be.

No publisher gives a size or checksum of its archive, so none stands here: what the first download hashes to is written
down beside it and later ones must agree, unless ``--sha256`` says what is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from peftcorr.errors import PeftCorrError, did_you_mean, shown


@dataclass(frozen=True)
class Bound:
    """What an archive may hold at most: bytes when unpacked, and members."""

    bytes: int
    members: int


@dataclass(frozen=True)
class Archive:
    """One file of those that a dataset is published as.

    Attributes:
        file: its name.
        address: where it is downloaded from; None if only people can fetch it.
        folder: folder at its top; None for a plain file, which is no archive.
        placed: what the folder is called in the prepared dataset, if not so, or where the plain file goes.
    """

    file: str
    address: str | None
    folder: str | None
    placed: str | None = None


@dataclass(frozen=True)
class Figures:
    """How much a split has; None where nobody published it.

    Attributes:
        pairs: ordered pairs of images.
        categories: distinct categories; of videos, distinct videos.
        images: distinct (category, image).
        keypoints: correspondences of all pairs together.
    """

    pairs: int | None = None
    categories: int | None = None
    images: int | None = None
    keypoints: int | None = None


@dataclass(frozen=True)
class Published:
    """A dataset as published.

    Attributes:
        name: name in peftcorr.
        page: where people read about it.
        archives: what has to be unpacked, all into one folder.
        needs: files and folders that are there afterwards, relative to the folder.
        bound: what an archive may hold at most: several times what the dataset does.
        splits: figures of each split; empty where a split depends on how pairs are drawn.
    """

    name: str
    page: str
    archives: tuple[Archive, ...]
    needs: tuple[str, ...]
    bound: Bound
    splits: Mapping[str, Figures] = field(default_factory=dict)

    def lacking(self, folder: Path) -> list[str]:
        """What a folder lacks of this dataset."""
        return [need for need in self.needs if not (folder / need).exists()]


def published(name: str) -> Published:
    """What is published of a dataset.

    Raises:
        PeftCorrError: if there is no archive of that name.
    """
    if name not in CATALOGUE:
        raise PeftCorrError(f"No archive of a dataset {shown(name)} is known.{did_you_mean(name, CATALOGUE)}")
    return CATALOGUE[name]


def prepared_folder(cache: Path, name: str) -> Path:
    """Where a dataset is prepared, and looked for, unless ``--data-root`` says otherwise."""
    return cache / "datasets" / name


_SPAIR = "https://cvlab.postech.ac.kr/research/SPair-71k"
_WILLOW = "https://www.di.ens.fr/willow/research/proposalflow"
_SD4MATCH = "https://www.robots.ox.ac.uk/~xinghui/sd4match"
_GEOAWARE = "https://raw.githubusercontent.com/Junyi42/GeoAware-SC/master/data"
_JAMAIS_VU = "https://groups.inf.ed.ac.uk/hbilen-data/data/JamaisVuData"
_CALTECH = "https://data.caltech.edu/records/65de6-vp158/files"
_TAPNET = "https://storage.googleapis.com/dm-tapnet"
_ENTRIES = (
    # Min et al., 2019 (arXiv:1908.10543): pairs. Distinct images and keypoints: counted in its annotation. The address
    # is that of its page and of the README of DIFT (Tang et al., NeurIPS 2023).
    Published(
        name="spair71k",
        page=f"{_SPAIR}/",
        archives=(Archive("SPair-71k.tar.gz", f"{_SPAIR}/data/SPair-71k.tar.gz", "SPair-71k"),),
        needs=("SPair-71k/JPEGImages", "SPair-71k/PairAnnotation", "SPair-71k/Layout"),
        bound=Bound(bytes=4 * 10**9, members=400_000),  # 70,958 of them annotate pairs
        splits={
            "trn": Figures(pairs=53_340, categories=18, images=997),
            "val": Figures(pairs=5_384, categories=18, images=322),
            "test": Figures(pairs=12_234, categories=18, images=481, keypoints=88_328),
        },
    ),
    # Mariotti et al., NeurIPS 2025 (arXiv:2506.08220): README of VICO-UoE/JamaisVu. The folder in the archive is that
    # which MARCO (Cuttano et al., CVPR 2026) says how to move. Photographs and list of pairs are SPair-71k's. How many
    # pairs and keypoints there are was not seen published.
    Published(
        name="spair_u",
        page="https://github.com/VICO-UoE/JamaisVu",
        archives=(
            Archive("SPair-U.zip", f"{_JAMAIS_VU}/SPair-U.zip", "datasets"),
            Archive("SPair-71k.tar.gz", f"{_SPAIR}/data/SPair-71k.tar.gz", "SPair-71k"),
        ),
        needs=("datasets/SPair-U/PairAnnotation", "SPair-71k/JPEGImages", "SPair-71k/Layout"),
        bound=Bound(bytes=4 * 10**9, members=400_000),
        splits={"test": Figures()},
    ),
    # Xu et al., ECCV 2022: README of luminxu/Pose-for-Everything. Its annotation lies on Google Drive, its photographs
    # are those of thirteen datasets, some of them behind a form: people put the folder together and pack it.
    Published(
        name="mp100",
        page="https://github.com/luminxu/Pose-for-Everything",
        archives=(Archive("mp100.zip", None, "mp100"),),
        needs=tuple(f"mp100/annotations/mp100_split1_{part}.json" for part in ("train", "val", "test")),
        bound=Bound(bytes=60 * 10**9, members=1_000_000),
    ),
    # Wah et al., 2011: README in the archive; the record of CaltechDATA that the dataset's page names.
    Published(
        name="cub",
        page="https://data.caltech.edu/records/65de6-vp158",
        archives=(Archive("CUB_200_2011.tgz", f"{_CALTECH}/CUB_200_2011.tgz", "CUB_200_2011"),),
        needs=("CUB_200_2011/images", "CUB_200_2011/images.txt", "CUB_200_2011/parts/part_locs.txt"),
        bound=Bound(bytes=6 * 10**9, members=100_000),  # the archive has 1.1 GB, and 11,788 images
    ),
    # Ham et al., CVPR 2016: 10 classes of 10 images, 10 keypoints each, all ordered pairs of a class. The folder in the
    # archive: README of SD4Match (Li et al., CVPR 2024), which keeps it as unpacked.
    Published(
        name="pf_willow",
        page=f"{_WILLOW}/",
        archives=(Archive("PF-dataset.zip", f"{_WILLOW}/dataset/PF-dataset.zip", "PF-dataset"),),
        needs=("PF-dataset",),
        bound=Bound(bytes=10**9, members=10_000),
        splits={"test": Figures(pairs=900, categories=10, images=100, keypoints=9_000)},
    ),
    # Ham et al., TPAMI 2018. Its archive has no split; the lists are those of Han et al. (SCNet, ICCV 2017) as SD4Match
    # (Li et al., CVPR 2024) gives them, with keypoints in the frame whose longest side is 300 pixels.
    Published(
        name="pf_pascal",
        page=f"{_WILLOW}/",
        archives=(
            Archive("PF-dataset-PASCAL.zip", f"{_WILLOW}/dataset/PF-dataset-PASCAL.zip", "PF-dataset-PASCAL"),
            Archive(
                "pf-pascal_image_pairs.zip",
                f"{_SD4MATCH}/pf-pascal_image_pairs.zip",
                "pf-pascal_image_pairs",
                placed="image_pairs",
            ),
        ),
        needs=(
            "PF-dataset-PASCAL/JPEGImages",
            "PF-dataset-PASCAL/Annotations",
            *(f"image_pairs/{split}_pairs.csv" for split in ("trn", "val", "test")),
        ),
        bound=Bound(bytes=2 * 10**9, members=50_000),
        splits={
            # Its list has 2,940 rows, of which many repeat or mirror a pair: how many pairs that are is not published.
            "trn": Figures(),
            "val": Figures(pairs=308),
            "test": Figures(pairs=299),
        },
    ),
    # Yu et al., NeurIPS 2021 (Datasets and Benchmarks). Its README links a file of Google Drive, which answers with a
    # page for people. The crowd list is that of GeoAware-SC (Zhang et al., CVPR 2024), whose protocol draws the pairs.
    Published(
        name="ap10k",
        page="https://github.com/AlexTheBad/AP-10K",
        archives=(
            Archive("ap-10k.zip", None, "ap-10k"),
            Archive(
                "ap-10k_is_crowd.txt",
                f"{_GEOAWARE}/ap-10k_is_crowd.txt",
                None,
                placed="ap-10k/ap-10k_is_crowd.txt",
            ),
        ),
        needs=("ap-10k/annotations", "ap-10k/data", "ap-10k/ap-10k_is_crowd.txt"),
        bound=Bound(bytes=20 * 10**9, members=200_000),  # the archive has 3.4 GB
    ),
    # Doersch et al., NeurIPS 2022 (Datasets and Benchmarks): README of google-deepmind/tapnet.
    Published(
        name="tapvid_davis",
        page="https://github.com/google-deepmind/tapnet/tree/main/tapnet/tapvid",
        archives=(Archive("tapvid_davis.zip", f"{_TAPNET}/tapvid_davis.zip", "tapvid_davis"),),
        needs=("tapvid_davis/tapvid_davis.pkl",),
        bound=Bound(bytes=8 * 10**9, members=1_000),
        splits={"test": Figures(categories=30)},  # a video each
    ),
)
CATALOGUE: dict[str, Published] = {entry.name: entry for entry in _ENTRIES}
