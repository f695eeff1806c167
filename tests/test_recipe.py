"""Recipes: which value wins, what is refused and how it is said, and what a run is named by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from peftcorr.config import merge
from peftcorr.errors import PeftCorrError
from peftcorr.recipe import Recipe, WeightsIdentity, parse_set, read, resolve
from tests.forked import in_another_process


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Writes a recipe: write(name, mapping or text) gives its path."""

    def make(name: str, content: dict[str, Any] | str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return path

    return make


def refusal(*arguments: Any) -> str:
    with pytest.raises(PeftCorrError) as caught:
        resolve(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert "https://" not in text
    return text


# Which value wins


def test_the_defaults_are_the_embedded_benchmark() -> None:
    recipe = resolve({}, [], None)
    assert recipe.strategy["name"] == "lora"
    assert recipe.backbone["name"] == "tiny"
    assert recipe.dataset["name"] == "synthetic"
    assert [section["name"] for section in recipe.predictors] == ["argmax", "window_softargmax"]
    assert recipe.alphas == [0.05, 0.1, 0.2]


def test_command_line_over_set_over_recipe_over_defaults(write: Any) -> None:
    path = write(
        "r.yaml", {"seed": 1, "encode_batch": 2, "training": {"steps": 10, "images": 5, "warmup": 0}}
    )
    recipe = resolve({"training": {"steps": 30}}, ["training.steps=20", "training.images=6", "seed=2"], path)
    assert recipe.training.steps == 30  # in all three
    assert recipe.training.images == 6  # set over recipe
    assert recipe.seed == 2
    assert recipe.training.warmup == 0  # recipe over defaults
    assert recipe.encode_batch == 2
    assert recipe.training.sampler == "cliques"  # default


def test_the_same_precedence_inside_a_section(write: Any) -> None:
    path = write("r.yaml", {"strategy": {"name": "lora", "rank": 4, "alpha": 2, "targets": ["fc1"]}})
    recipe = resolve({"strategy": {"name": "lora", "rank": 16}}, ["strategy.alpha=3"], path)
    assert recipe.strategy["rank"] == 16
    assert recipe.strategy["alpha"] == 3
    assert recipe.strategy["targets"] == ["fc1"]
    assert recipe.strategy["dropout"] == 0


def test_another_name_starts_a_section_afresh(write: Any) -> None:
    """LoRA's rank must not reach the Adapter that the command line asks for instead."""
    path = write("r.yaml", {"strategy": {"name": "lora", "rank": 4}})
    assert resolve({"strategy": {"name": "adapter"}}, [], path).strategy == {
        "name": "adapter", "bottleneck": 64, "blocks": "all", "layer_norm": False, "init_std": 0.001,
    }  # fmt: skip
    assert resolve({}, ["strategy=adapter"], path).strategy["name"] == "adapter"


def test_set_reaches_what_the_command_line_names() -> None:
    """``--strategy last_k --set strategy.k=2``: k is last_k's, whatever the recipe named before; never dropped."""
    named = {"strategy": {"name": "last_k"}, "backbone": {"name": "dinov2_vits14"}}
    recipe = resolve(named, ["strategy.k=2", "backbone.resize=pad"], None)
    assert recipe.strategy["k"] == 2
    assert recipe.backbone["resize"] == "pad"
    assert "there is no key 'rank'" in refusal(named, ["strategy.rank=2"], None)


def test_a_name_alone_keeps_the_options_below_it(write: Any) -> None:
    path = write("r.yaml", {"strategy": {"name": "lora", "rank": 4}})
    assert resolve({"strategy": {"name": "lora"}}, [], path).strategy["rank"] == 4
    assert resolve({}, ["strategy=lora"], path).strategy["rank"] == 4
    assert resolve({}, [], write("s.yaml", {"strategy": "adaptformer"})).strategy["scale"] == 0.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.steps=100", {"training": {"steps": 100}}),
        ("strategy.targets=[q, v]", {"strategy": {"targets": ["q", "v"]}}),
        ("training.learning_rate=null", {"training": {"learning_rate": None}}),
        ("a=b=c", {"a": "b=c"}),
        ("a=", {"a": None}),
        ("training={steps: 3}", {"training": {"steps": 3}}),
        ("a={split}", {"a": "{split}"}),
        ("a={split}/x.json", {"a": "{split}/x.json"}),
        ("a=x/{split}/y.json", {"a": "x/{split}/y.json"}),
        ("a=*.json", {"a": "*.json"}),
        ("a=@home", {"a": "@home"}),
    ],
)
def test_set(text: str, expected: dict[str, Any]) -> None:
    assert parse_set([text]) == expected


def test_later_assignments_win_and_add_up() -> None:
    assert parse_set(["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}


@pytest.mark.parametrize("text", ["training.steps", "=3", "a=[1", "a={b: }}"])
def test_a_malformed_assignment(text: str) -> None:
    with pytest.raises(PeftCorrError, match=re.escape(f"--set {text}: ")):
        parse_set([text])


@pytest.mark.parametrize("text", ["strategy.targets.0=q", "training..steps=3", "seed.value=1"])
def test_an_assignment_to_what_is_no_section(text: str) -> None:
    refusal({}, [text], None)


def test_a_name_in_braces_is_text(tmp_path: Path) -> None:
    """As the help of the option writes it."""
    options = ["dataset=coco", "dataset.images={split}", "dataset.annotations={split}/_annotations.coco.json"]
    dataset = resolve({}, options, None).dataset
    assert (dataset["images"], dataset["annotations"]) == ("{split}", "{split}/_annotations.coco.json")


def test_a_name_in_braces_without_quotes_in_a_file_is_explained(write: Any) -> None:
    path = write("r.yaml", "dataset: {name: coco, images: {split}}\n")
    with pytest.raises(PeftCorrError, match=r"images is .*: .*put quotes round it, like '\{split\}'"):
        resolve({}, [], path)
    quoted = write("q.yaml", "dataset: {name: coco, images: '{split}'}\n")
    assert resolve({}, [], quoted).dataset["images"] == "{split}"


def test_numbers_in_yaml_without_a_point(write: Any) -> None:
    """YAML 1.1 reads 1e-3 as text; a recipe writer means the number."""
    assert resolve({}, ["training.learning_rate=1e-3"], None).training.learning_rate == 1e-3
    path = write("r.yaml", "training: {learning_rate: 3e-4}\n")
    assert resolve({}, [], path).training.learning_rate == 3e-4


def test_a_bare_no_is_a_precision(write: Any) -> None:
    assert resolve({}, ["precision=no"], write("r.yaml", "precision: bf16\n")).precision == "no"
    assert resolve({}, [], write("r.yaml", "precision: no\n")).precision == "no"


def test_merge_leaves_its_arguments_alone() -> None:
    under: dict[str, Any] = {"a": {"b": 1}}
    assert merge(under, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert under == {"a": {"b": 1}}


# extends


def test_the_nearest_along_a_chain_wins(write: Any) -> None:
    write("deep/base.yaml", {"seed": 1, "encode_batch": 1, "limit_pairs": 1, "strategy": {"name": "adapter"}})
    write("deep/middle.yaml", {"extends": "base.yaml", "encode_batch": 2, "limit_pairs": 2})
    path = write(
        "leaf.yaml", {"extends": "deep/middle.yaml", "limit_pairs": 3, "strategy": {"bottleneck": 8}}
    )
    recipe = resolve({}, [], path)
    assert (recipe.seed, recipe.encode_batch, recipe.limit_pairs) == (1, 2, 3)
    assert (recipe.strategy["name"], recipe.strategy["bottleneck"]) == ("adapter", 8)
    assert "extends" not in read(path)


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c")])
def test_a_circle_is_refused(write: Any, names: tuple[str, ...]) -> None:
    for name, following in zip(names, (*names[1:], names[0]), strict=True):
        path = write(f"{name}.yaml", {"extends": f"{following}.yaml"})
    assert re.search(r"\.yaml extends itself", refusal({}, [], path))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("- 1\n", "a mapping of keys"),
        ("", "a mapping of keys"),
        ("a: [\n", "not readable as YAML"),
        ("extends: [a.yaml]\n", "extends must be the path"),
        ("extends: nowhere.yaml\n", "nowhere.yaml: there is no such file"),
        ("\x00", "not readable as YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "not readable as YAML"),
    ],
)
def test_a_file_that_is_no_recipe(write: Any, content: str, what: str) -> None:
    assert what in refusal({}, [], write("r.yaml", content))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert "there is no such file" in refusal({}, [], tmp_path / "none.yaml")
    assert "not readable" in refusal({}, [], tmp_path)


# What is refused


@pytest.mark.parametrize(
    ("assignment", "wrong", "right"),
    [
        ("alpha=[0.1]", "alpha", "alphas"),
        ("trainning.steps=3", "trainning", "training"),
        ("training.step=3", "training.step", "steps"),
        ("training.loss.sigm=3", "training.loss.sigm", "sigma"),
        (
            "training.search={learning_rate: [1, 2], steps: 3}",
            "training.search.learning_rate",
            "learning_rates",
        ),
        ("strategy.rnak=4", "rnak", "rank"),
        ("backbone.img_size=64", "img_size", "image_size"),
        ("dataset={name: pairs, layouts: small}", "layouts", "layout"),
        ("predictors=[{name: window_softargmax, radios: 3}]", "radios", "radius"),
        ("eval_on=[{name: spair71k, layut: small}]", "layut", "layout"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest_right_one(
    assignment: str, wrong: str, right: str
) -> None:
    text = refusal({}, [assignment], None)
    assert f"there is no key {wrong!r}. Did you mean {right!r}?" in text


def test_the_recipe_at_fault_is_named(write: Any) -> None:
    path = write("mine.yaml", {"strategy": {"name": "lora", "rnak": 4}})
    text = refusal({}, [], path)
    assert str(path) in text
    assert "strategy 'lora'" in text


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("strategy=lorra", "Unknown strategy 'lorra'. Did you mean 'lora'?"),
        ("backbone=dinov2_vitb15", "Did you mean 'dinov2_vitb14'?"),
        ("dataset=spair71", "Did you mean 'spair71k'?"),
        ("predictors=[argmin]", "Did you mean 'argmax'?"),
        ("strategy={rank: 3, name: 4}", "must be a name"),
        ("strategy.rank=0", "rank is 0"),
        ("training.images=1", "training.images is 1"),
        ("training.steps=many", "training.steps is 'many'"),
        ("seed=-1", "seed is -1"),
        ("seed=4294967296", "seed is 4294967296"),
        ("precision=fp8", "precision is 'fp8'"),
        ("alphas=[]", "alphas is []"),
        ("alphas=[0]", "alphas"),
        ("alphas=[.nan]", "alphas"),
        ("predictors=[]", "predictors is []"),
        ("limit_pairs=0", "limit_pairs is 0"),
        ("training.loss={distance: 0, cross_entropy: 0}", "nothing would be trained"),
        ("training.loss.beta=.inf", "training.loss.beta"),
        ("training.learning_rate=.nan", "training.learning_rate"),
        ("strategy.targets=[]", "targets"),
        ("strategy.targets=[q, q]", "targets"),
    ],
)
def test_an_impossible_value(assignment: str, said: str) -> None:
    assert said in refusal({}, [assignment], None)


# What a run is named by


def identified(**changes: Any) -> Recipe:
    recipe = resolve({}, [], None)
    return recipe.model_copy(update={"weights": WeightsIdentity(id="w", sha256="0" * 64), **changes})


def test_a_run_id_is_a_hash_of_the_numbers_alone() -> None:
    run_id = identified().digest()
    assert re.fullmatch(r"[0-9a-f]{64}", run_id)
    assert run_id == Recipe.model_validate(identified().model_dump(mode="json")).digest()
    assert run_id != identified(weights=WeightsIdentity(id="w", sha256="1" * 64)).digest()
    assert run_id != identified(seed=1).digest()


def test_every_key_counts() -> None:
    base = resolve({}, [], None).digest()
    assignments = (
        "seed=1", "alphas=[0.1]", "limit_pairs=3", "precision=bf16", "training.steps=3", "strategy.rank=4",
        "training.loss.beta=3", "backbone.image_size=64", "backbone.resize=pad", "predictors=[argmax]",
    )  # fmt: skip
    ids = [resolve({}, [assignment], None).digest() for assignment in assignments]
    assert len({base, *ids}) == len(assignments) + 1


def test_how_a_value_was_written_does_not_count(write: Any) -> None:
    """Neither the file, nor its name, nor its folder, nor the order of its keys, nor a default written out."""
    base = resolve({}, [], None).digest()
    assert resolve({"seed": 0}, [], None).digest() == base
    assert resolve({}, ["alphas=[0.2, 0.1, 0.05, 0.1]"], None).digest() == base
    assert resolve({}, ["strategy={rank: 8, name: lora, alpha: 8.0}"], None).digest() == base
    one, other = write("a.yaml", {"seed": 3}), write("b/c.yaml", {"extends": "../a.yaml"})
    assert resolve({}, [], one).digest() == resolve({}, [], other).digest()


def default_digest() -> str:
    return resolve({}, [], None).digest()


def test_a_run_id_is_the_same_in_another_process() -> None:
    """One in which Python orders sets otherwise."""
    assert in_another_process(default_digest) == default_digest()


def test_a_written_out_recipe_reads_back(write: Any) -> None:
    recipe = resolve({}, ["training.search={learning_rates: [0.1, 0.2], steps: 3}"], None)
    assert resolve({}, [], write("r.yaml", recipe.model_dump(mode="json"))) == recipe


def test_the_default_preset_leaves_run_ids_as_they_were() -> None:
    recipe = resolve({}, ["preset=peftcorr"], None)
    assert "preset" not in recipe.model_dump(mode="json")
    assert recipe.digest() == resolve({}, [], None).digest()
    other = resolve({}, ["preset=sd4match"], None)
    assert other.model_dump(mode="json")["preset"] == "sd4match"
    assert other.digest() != recipe.digest()
    with pytest.raises(PeftCorrError, match=r"Did you mean .geoaware.\?"):
        resolve({}, ["preset=geoawar"], None)
    with pytest.raises(PeftCorrError, match="Unknown preset"):
        resolve({}, ["preset=[dift]"], None)


def test_the_default_recipe_is_this_one() -> None:
    """Its scores stand in the README: whoever changes a default on purpose runs the embedded benchmark again."""
    found = resolve({}, [], None)
    assert found.training.model_dump(exclude={"loss", "search"}) == {
        "steps": 160, "sampler": "cliques", "images": 5, "pairs": 8, "accumulation": 1, "learning_rate": 3e-3,
        "weight_decay": 0.01, "warmup": 0.1, "gradient_clip": 1.0, "validate_every": 80, "checkpoint_every": 50,
    }  # fmt: skip
    assert found.digest() == "e9bebba27f26011126d2501d067c6ff66ce1f0909287ebf71b29dcda8f56e699"
