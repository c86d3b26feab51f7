"""The look of `--help`: what people type, instead of the types of the parser."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup

HELP_NAMES = ("-h", "--help")


class Verb(TyperCommand):
    """A verb, whose help shows the metavar of each option and nothing of a flag."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, `--help` with them."""
        return _plain(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the pieces of the line that shows how the verb is typed."""
        names = [one.metavar or one.name for one in self.params if isinstance(one, TyperArgument)]
        return ["[OPTIONS]", *names]


class Verbs(TyperGroup):
    """The command itself, whose help lists the verbs."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, `--help` with them."""
        return _plain(super().get_params(ctx))


def epilog(examples: Sequence[str]) -> str:
    """Return what stands below a verb's options: lines to copy."""
    # Square brackets would be markup.
    lines = (f"  {one}".replace("[", "\\[") for one in examples)
    return "\n".join(("Examples:", *lines))


def _plain(params: list[Any]) -> list[Any]:
    for param in params:
        # Typer shows `<bool>` beside a flag and `<list[str]>` beside an argument; it has no other
        # place to say so than the method of the parameter.
        param.display_type_rich = partial(_metavar, param)
    return params


def _metavar(param: Any, ctx: Any) -> str:
    return "" if isinstance(param, TyperArgument) else param.metavar or ""
