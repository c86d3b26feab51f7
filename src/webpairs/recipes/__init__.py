"""The rules that decide what a dataset holds; each recipe is a file one can read on a screen."""

from __future__ import annotations

from difflib import get_close_matches

from webpairs.errors import ConfigError
from webpairs.recipes.recipe import NAMES, Recipe, named_recipe


def load_recipe(name: str) -> Recipe:
    """Return the recipe called `name`, or the one in the file of this path.

    Raises ConfigError naming the known ones, or what is wrong in the file.
    """
    if name not in NAMES:
        if not name.endswith((".toml", ".py")) and "/" not in name:
            near = get_close_matches(name, NAMES, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"unknown recipe {name!r}: {hint}use one of {', '.join(NAMES)}, or a TOML file of "
                "your own, such as mine.toml"
            )
        from webpairs.recipes.from_file import read_recipe

        return read_recipe(name)
    return named_recipe(name)
