"""What a recipe may say, and what is said of one that says something else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.recipe import Recipe, load_recipe
from versioning.errors import InvalidInput, NotFound

LAYER: dict[str, Any] = {"kind": "raster", "sources": "*.tif"}
LABELS: dict[str, Any] = {"kind": "labels", "sources": "*.geojson"}


def load(tmp_path: Path, content: object) -> Recipe:
    file = tmp_path / "stacpin.yaml"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return load_recipe(file)


def with_layer(**settings: Any) -> dict[str, Any]:
    return {"dataset": "d", "layers": {"a": LAYER | settings}}


def refused(tmp_path: Path, content: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, content)
    assert "stacpin.yaml" in caught.value.message
    assert caught.value.kind == "invalid-recipe"
    return caught.value


def test_the_least_that_a_recipe_says(tmp_path: Path) -> None:
    recipe = load(tmp_path, with_layer())
    layer = recipe.layers["a"]
    assert (recipe.license, recipe.on_error, recipe.crs) == ("other", "stop", None)
    assert layer.sources == ["*.tif"]
    assert (layer.cog.compress, layer.cog.blocksize, layer.optional) == ("deflate", 512, False)


def test_the_recipe_of_the_examples(examples: Path) -> None:
    recipe = load_recipe(examples / "stacpin.yaml")
    assert recipe.dataset == "rocky-mountain"
    assert recipe.layers["landsat"].start_datetime == "2018-01-01"
    assert recipe.layers["glaciers"].optional


@pytest.mark.parametrize(
    ("content", "where", "near"),
    [
        ({"dataset": "d", "layer": {"a": LAYER}}, "layer", "layers"),
        ({"dataset": "d", "licence": "x", "layers": {"a": LAYER}}, "licence", "license"),
        (with_layer(source="*.tif"), "layers.a.source", "sources"),
        (with_layer(date_time="2024"), "layers.a.date_time", "datetime"),
        (with_layer(cog={"compression": "zstd"}), "layers.a.cog.compression", "compress"),
        (with_layer(bands=[{"name": "red", "comon_name": "red"}]), "comon_name", "common_name"),
        ({"dataset": "d", "layers": {"a": LABELS | {"label": {"task": ["x"]}}}}, "layers.a.label.task", "tasks"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest(tmp_path: Path, content: object, where: str, near: str) -> None:
    error = refused(tmp_path, content)
    assert where in error.message
    assert "unknown key" in error.message
    assert error.hint == f"Did you mean {near!r}?"


def test_a_key_that_is_near_nothing(tmp_path: Path) -> None:
    assert "docs/recipes.md" in str(refused(tmp_path, with_layer(zzz=1)).hint)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"layers": {"a": LAYER}}, "'dataset' is missing"),
        ({"dataset": "d"}, "'layers' is missing"),
        ({"dataset": "d", "layers": {}}, "layers"),
        ({"dataset": "D!", "layers": {"a": LAYER}}, "D!"),
        ({"dataset": "d", "layers": {"A b": LAYER}}, "A b"),
        ({"dataset": "d", "layers": {"../x": LAYER}}, "../x"),
        ({"dataset": "d", "on_error": "ignore", "layers": {"a": LAYER}}, "ignore"),
        ({"dataset": "d", "crs": 4326, "layers": {"a": LAYER}}, "4326"),
        ({"dataset": "d", "layers": {"a": {"kind": "raster"}}}, "layers.a.sources"),
        (with_layer(kind="point-cloud"), "point-cloud"),
        (with_layer(sources=[]), "layers.a.sources"),
        (with_layer(pattern="(?P<year"), "layers.a.pattern"),
        (with_layer(pattern="(?i)scene"), "layers.a.pattern"),
        (with_layer(resolution=-1), "layers.a.resolution"),
        (with_layer(resolution=float("nan")), "layers.a.resolution"),
        (with_layer(cog={"compress": "jpeg"}), "jpeg"),
        (with_layer(label={"tasks": []}), "kind labels"),
        (with_layer(precision=0.1), "kind labels"),
        (with_layer(start_datetime="2024-01-01"), "go together"),
        ({"dataset": "d", "layers": {"a": LABELS | {"bands": ["red"]}}}, "kind raster"),
        ({"dataset": "d", "layers": {"a": LABELS | {"label": {"type": "raster"}}}}, "layers.a.label.type"),
        ({"dataset": "d", "layers": {"a": {"kind": "file", "sources": "*", "crs": "EPSG:4326"}}}, "crs"),
        ("", "the recipe"),
        ("# nothing but a comment\n", "the recipe"),
        ("- a\n- b\n", "the recipe"),
        ("just a sentence", "the recipe"),
        ("dataset: [unclosed", "YAML"),
        ("dataset: d\n\tlayers: x", "YAML"),
        ("dataset: d\ndataset: e\nlayers: {}", "'dataset' occurs twice (line 2)"),
        ("1: d", "1 is not text (line 1)"),
        ("? [a]\n: b", "is not text"),
        ("a: &x [1]\nb: *x", "aliases are not allowed in a recipe (line 2)"),
        ("dataset: !!python/object/apply:os.system ['true']", "YAML"),
        ("dataset: d\n---\ndataset: e", "YAML"),
        (b"dataset: \xff\xfe", "YAML"),
        ("[" * 50_000, "YAML"),
    ],
)
def test_what_no_recipe_says(tmp_path: Path, content: object, said: str) -> None:
    error = refused(tmp_path, content)
    assert said in error.message
    assert len(error.message) < 600


def test_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 12)]
    start = time.perf_counter()
    assert "aliases" in refused(tmp_path, "\n".join(lines)).message
    assert time.perf_counter() - start < 1


def test_a_recipe_that_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at most"):
        load(tmp_path, "# " + "x" * 1_100_000)


def test_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_recipe(tmp_path)


def test_dates_may_be_written_as_yaml_has_them(tmp_path: Path) -> None:
    text = "dataset: d\nlayers:\n  a: {kind: raster, sources: '*.tif', datetime: %s, properties: {acquired: %s}}\n"
    for written in ("2024-05-01", "2024-05-01T10:30:00Z", "2024-05-01 10:30:00+02:00"):
        layer = load(tmp_path, text % (written, written)).layers["a"]
        assert layer.datetime == layer.properties["acquired"] == written


def test_the_digest_goes_by_what_is_said(tmp_path: Path) -> None:
    plain = load(tmp_path, "dataset: d\nlayers: {a: {kind: raster, sources: '*.tif'}}")
    same = load(
        tmp_path, "# note\nlayers:\n  a:\n    optional: false\n    sources: ['*.tif']\n    kind: raster\ndataset: d\n"
    )
    elsewhere = load(tmp_path, "catalog: /x\ndataset: d\nlayers: {a: {kind: raster, sources: '*.tif'}}")
    other = load(tmp_path, "dataset: d\nlayers: {a: {kind: raster, sources: '*.tiff'}}")
    assert plain.digest == same.digest == elsewhere.digest != other.digest


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"dataset": "d", "crs": 32718, "layers": {"a": LAYER}}, "'crs' is 32718: it must be text (in quotes, if"),
        ({"dataset": "D!", "layers": {"a": LAYER}}, "'dataset' is 'D!': "),
        ({"dataset": "d", "layers": {"A b": LAYER}}, "'layers.A b' is 'A b': it must be lower-case letters, "),
        ({"dataset": "d", "layers": []}, "'layers' is []: it must be a mapping of keys to values."),
        ({"dataset": "d", "layers": {}}, "'layers' is {}: it must not be empty."),
        ("just a sentence", "'the recipe' is 'just a sentence': it must be a mapping of keys to values."),
        (with_layer(kind="tif"), "'layers.a.kind' is 'tif': it must be 'raster', 'labels' or 'file'."),
        (with_layer(resolution=-1), "'layers.a.resolution' is -1: it must be above 0."),
        (with_layer(resolution="x"), "'layers.a.resolution' is 'x': it must be a number."),
        (with_layer(resolution=float("nan")), "'layers.a.resolution' is nan: it must be a finite number."),
        (with_layer(optional="perhaps"), "'layers.a.optional' is 'perhaps': it must be true or false."),
        (with_layer(cog={"blocksize": 1.5}), "'layers.a.cog.blocksize' is 1.5: it must be a whole number."),
        (with_layer(roles="data"), "'layers.a.roles' is 'data': it must be a list."),
        (with_layer(bands=[5]), "'layers.a.bands.0' is 5: it must be a band's name, or a mapping with its 'name'."),
        (with_layer(properties={"p": {"q": 1}}), "'layers.a.properties.p' is {'q': 1}: it must be text, a number, "),
        ({"dataset": "d", "layers": {"str": LAYER | {"roles": "x"}}}, "'layers.str.roles' is 'x'"),
        (with_layer(precision=0.1), "precision are for layers of kind labels."),
    ],
)
def test_reasons_are_in_our_words(tmp_path: Path, content: object, said: str) -> None:
    message = refused(tmp_path, content).message
    assert said in message
    assert not [word for word in ("Input", "Value error", "pydantic", "..", "string") if word in message]


def test_a_bare_code_is_told_as_people_write_it(tmp_path: Path) -> None:
    assert refused(tmp_path, with_layer(crs=32718)).hint == "Did you mean 'EPSG:32718'?"
