"""One's own recipe: data that is checked whole, and by which a dataset is known."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.run_folders import SmallCrawl

from webpairs import BuildOptions, ExtractOptions, build_dataset
from webpairs.errors import ConfigError
from webpairs.recipes import load_recipe
from webpairs.recipes.from_file import read_recipe
from webpairs.recipes.recipe import Recipe

DOC = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", DOC, re.DOTALL)
BASED = 'based_on = "laion400m"\n'


def recipe_file(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_a_recipe_on_another_one(tmp_path: Path) -> None:
    text = BASED + 'languages = ["de"]\nmin_side_px = 200\nmax_aspect = 3\n'
    path = recipe_file(tmp_path, text)
    assert load_recipe(path) == replace(
        load_recipe("laion400m"),
        name="mine",
        languages=("de",),
        min_side_px=200,
        max_aspect=3.0,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def test_what_the_docs_write_out(tmp_path: Path) -> None:
    small, whole = (read_recipe(recipe_file(tmp_path, block)) for block in BLOCKS)
    assert (small.name, small.languages) == ("german-photographs", ("de",))
    laion = load_recipe("laion400m")
    assert replace(whole, name=laion.name, sha256=None) == laion
    documented = set(re.findall(r"^\| (`.*?) \|", DOC, re.MULTILINE))
    names = {name for cell in documented for name in re.findall(r"`(\w+)`", cell)}
    assert names == {field.name for field in fields(Recipe)} - {"sha256"} | {"based_on"}


BAD: list[tuple[str, list[str]]] = [
    (BASED + 'langauges = ["en"]', ["mine.toml", "'langauges'", "did you mean 'languages'"]),
    (BASED + 'sha256 = "00"', ["'sha256'", "unknown"]),
    (BASED + 'languages = "en"', ["languages = 'en'", "list of texts"]),
    (BASED + 'languages = ["eng"]', ["languages 'eng'", "did you mean 'en'"]),
    (BASED + "languages = []", ["languages = []", "list of texts"]),
    (BASED + "texts = [1]", ["texts = [1]", "list of texts"]),
    (BASED + 'texts = ["titel"]', ["texts 'titel'", "did you mean 'title'"]),
    (BASED + 'formats = ["gif"]', ["formats 'gif'", "jpeg, png, webp"]),
    (BASED + 'resize = "boarder"', ["resize 'boarder'", "did you mean 'border'"]),
    (BASED + 'image_format = "jpg"', ["image_format 'jpg'", "did you mean 'jpeg'"]),
    (BASED + "image_size_px = 8", ["image_size_px = 8", "16 to 4096"]),
    (BASED + "image_size_px = 256.0", ["image_size_px = 256.0", "16 to 4096"]),
    (BASED + "min_side_px = true", ["min_side_px = True", "0 to 65500"]),
    (BASED + "max_aspect = 0.5", ["max_aspect = 0.5", "1 or more"]),
    (BASED + "max_aspect = nan", ["max_aspect = nan"]),
    (BASED + "jpeg_quality = 101", ["jpeg_quality = 101", "1 to 100"]),
    (BASED + "model = 1", ["model = 1", "not a text"]),
    (BASED + 'name = "laion400m"', ["name = 'laion400m'", "another recipe"]),
    (BASED + 'name = "a\\nb"', ["name", "letters"]),
    ('based_on = "laion"', ["based_on 'laion'", "did you mean 'laion400m'"]),
    ("based_on = 1", ["based_on = 1", "laion400m"]),
    ('texts = ["alt"]', ["lacks image_sources, min_text_chars", 'based_on = "laion400m"']),
    ("texts = [ = 1", ["not TOML", "line 1"]),
    ("a" * 100_001, ["more than 100,000 bytes"]),
]


@pytest.mark.parametrize(("text", "words"), BAD, ids=[text[-40:] for text, _ in BAD])
def test_what_is_wrong_in_a_recipe_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe(recipe_file(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message
    assert not [word for word in words if word not in message]


def test_what_is_not_a_file_of_a_recipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    code = recipe_file(tmp_path, "raise SystemExit", "mine.py")
    for path, word in (
        (str(tmp_path / "absent.toml"), "no such file"),
        (str(tmp_path / "pipe.toml"), "is not a file"),
        (f"{tmp_path}/", "is not a file"),
        (code, "nothing of a recipe is executed"),
    ):
        with pytest.raises(ConfigError, match=word):
            load_recipe(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_recipe_or_a_clear_error(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    with suppress(ConfigError):
        read_recipe(str(path))


def test_options_lie_over_a_file(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, BASED + 'image_format = "png"\nresize = "keep-ratio"\n')
    given = BuildOptions(inputs=("a",), out="o", recipe=path, image_size=64, image_quality=9)
    recipe = given.resolved_recipe()
    assert (recipe.image_size_px, recipe.image_format, recipe.png_compression) == (64, "png", 9)
    extract = ExtractOptions(inputs=("a",), out="o", recipe=path)
    assert extract.resolved_recipe().sha256 == recipe.sha256
    unscored = recipe_file(tmp_path, 'based_on = "download"')
    with pytest.raises(ConfigError, match=r"--threshold 0\.3 needs scores"):
        BuildOptions(inputs=("a",), out="o", recipe=unscored, threshold=0.3)


def test_a_build_goes_on_only_with_the_same_file(little_web: SmallCrawl, tmp_path: Path) -> None:
    path = recipe_file(tmp_path, BASED + 'model = "tiny"\nresize = "keep-ratio-largest"\n')
    options = BuildOptions(
        inputs=tuple(map(str, little_web.files.warc)),
        images="archive",
        out=str(tmp_path / "out"),
        recipe=path,
        limit=5,
        workers=1,
    )
    build_dataset(options)
    stored = orjson.loads((tmp_path / "out" / "manifest.json").read_bytes())["options"]
    assert stored["recipe.name"] == "mine"
    assert stored["recipe.resize"] == "keep-ratio-largest"
    assert stored["recipe.sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    build_dataset(options)
    recipe_file(tmp_path, Path(path).read_text() + "# the same rules\n")
    with pytest.raises(ConfigError, match="SHA-256 of the file of --recipe"):
        build_dataset(options)
