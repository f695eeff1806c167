"""Every kind of file that a run leaves and reads again, each with the function that reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import set_seed

from peftcorr.data.identity import annotation_digest, images_digest
from peftcorr.data.layouts.tapvid_frames import prepare
from peftcorr.data.synthetic.generate import SyntheticConfig
from peftcorr.data.synthetic.rendered import rendered
from peftcorr.engine.checkpoint import read_search
from peftcorr.engine.scoring import scorer
from peftcorr.errors import PeftCorrError
from peftcorr.features.cache import FeatureCache
from peftcorr.features.identity import tensors_sha256
from peftcorr.files import manifest
from peftcorr.metrics.aggregate import score_predictions
from peftcorr.model.finished import load_finished
from peftcorr.pipeline import train
from peftcorr.predictions import read_predictions
from peftcorr.results.choice import chosen_predictor
from peftcorr.results.runs import checked_predictions
from peftcorr.results.store import Store
from peftcorr.results.verify import verify
from sealing.small_runs import SmallRuns

_ALPHAS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        name: what they are.
        reader: what reads them, for people.
        folder: has them, and nothing else that `read` may write to.
        files: all of them.
        read: reads one, and returns a value that is the same for as long as what was read means the same.
        as_one: whether all files of a folder are sealed as one, and named by that folder.
    """

    name: str
    reader: str
    folder: Path
    files: tuple[Path, ...]
    read: Callable[[Path], object]
    as_one: bool = False

    def unit(self, path: Path) -> Path:
        """What is named when a file was changed: itself, or its folder."""
        return path.parent if self.as_one else path


def all_kinds(runs: SmallRuns) -> list[Kind]:
    """The kinds of files of some runs."""
    return [*_left(runs), *_cached(runs)]


def _left(runs: SmallRuns) -> list[Kind]:
    """What lies in the output folder, and predictions that were taken out of it."""
    store, stopped, weights = Store(runs.output), runs.stopped, runs.stopped.model.weights
    assert weights is not None
    state, bench, backbone = store.state_path(stopped.run_id), runs.bench(), stopped.recipe.backbone

    def resumed(_: Path) -> object:
        set_seed(stopped.recipe.seed)  # as a run does: of a state that is set aside, nothing is loaded
        model, strategy = stopped.model.build()
        trained = train(stopped, bench, model, strategy, Accelerator(cpu=True))
        return tensors_sha256(model), trained.best_step, [point.pck for point in trained.validation]

    def adapted(path: Path) -> object:
        record = store.read(path.stem)
        assert record is not None
        return tensors_sha256(load_finished(record, store, None).backbone)

    def searched(_: Path) -> object:
        said: list[str] = []
        found = read_search(state, said.append)
        if said:
            raise PeftCorrError(said[0])
        return found

    def verified(path: Path) -> object:
        name = path.parent.relative_to(runs.output).as_posix()
        if name in (one.name for one in verify(runs.output) if one.state == "changed"):
            raise PeftCorrError(f"{name} was changed.")
        return path.read_bytes()

    def kind(
        name: str,
        reader: str,
        folder: Path,
        pattern: str,
        read: Callable[[Path], object],
        as_one: bool = False,
    ) -> Kind:
        return Kind(name, reader, folder, tuple(sorted(folder.glob(pattern))), read, as_one)

    return [
        kind("records", "compile, export", runs.output / "records", "*.json", lambda _: store.records()),
        kind("predictions", "score, compare, breakdown", runs.output / "predictions", "*.parquet",
             lambda path: score_predictions(checked_predictions(path), _ALPHAS)),
        kind("predictions without their record", "score", runs.folder / "elsewhere", "*.parquet",
             lambda path: score_predictions(read_predictions(path), _ALPHAS)),
        kind("adapters", "export, tune-predictor", runs.output / "adapters", "*.safetensors", adapted),
        kind("adapters in peft's form", "verify", runs.output / "adapters", "*/*", verified, as_one=True),
        kind("state of a training", "resume", state, "step-*/*", resumed, as_one=True),
        kind("learning-rate search", "resume", state, "search.json", searched),
        kind("tuned predictor", "--predictor tuned", runs.output / "predictors", "*.json",
             lambda _: chosen_predictor(backbone, weights.id, weights.sha256, store)),
    ]  # fmt: skip


def _cached(runs: SmallRuns) -> list[Kind]:
    """What lies in the cache."""
    plan, bench = runs.finished["frozen"], runs.bench()
    weights, config = plan.model.weights, plan.dataset.config
    assert weights is not None
    assert isinstance(config, SyntheticConfig)
    backbone, _ = plan.model.build()
    tested = [bench.split(source, "test", plan.model.options) for source in plan.tested]

    def tables(_: Path) -> object:
        return [annotation_digest(source.load(split)) for source in plan.tested for split in source.splits()]

    def encoded(_: Path) -> object:
        cache = FeatureCache(runs.cache, weights.id)
        evaluator = scorer(plan.recipe, backbone, bench, Accelerator(cpu=True), cache)
        return [evaluator.predict(split, plan.predictors).points.tobytes() for split in tested]

    def kind(name: str, folder: str, read: Callable[[Path], object]) -> Kind:
        place = runs.cache / folder
        files = (path for path in sorted(place.rglob("*")) if path.is_file() and path.name[0] != ".")
        return Kind(name, "a run", place, tuple(files), read)

    return [
        kind("cached tables of pairs", "pairs", tables),
        kind("remembered digests of images", "digests",
             lambda _: [images_digest(split.dataset, runs.cache) for split in tested]),
        kind("rendered benchmark", "synthetic", lambda _: manifest(rendered(runs.cache, config))),
        kind("frames of videos", "tapvid", lambda _: manifest(prepare([runs.pickled], runs.cache))),
        kind("cached features", "features", encoded),
    ]  # fmt: skip
