"""Turning crawl files into CLIP-filtered image-text datasets in the form of LAION-400M.

`build_dataset`, `extract_candidates`, `read_status` and `run_demo` are the command's verbs, from
Python, and `open` reads what they built; all are loaded when first used, so that importing the
package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from webpairs.version import __version__

if TYPE_CHECKING:
    from webpairs.dataset.dataset import Dataset
    from webpairs.dataset.dataset import open_dataset as open
    from webpairs.demo.run import run_demo
    from webpairs.options import BuildOptions, ExtractOptions
    from webpairs.run.run import build_dataset, extract_candidates
    from webpairs.run_folder.status import read_status

__all__ = [
    "BuildOptions",
    "Dataset",
    "ExtractOptions",
    "__version__",
    "build_dataset",
    "extract_candidates",
    "open",
    "read_status",
    "run_demo",
]

_MODULES = {
    "BuildOptions": "webpairs.options",
    "Dataset": "webpairs.dataset.dataset",
    "ExtractOptions": "webpairs.options",
    "build_dataset": "webpairs.run.run",
    "extract_candidates": "webpairs.run.run",
    "read_status": "webpairs.run_folder.status",
    "open": "webpairs.dataset.dataset",
    "run_demo": "webpairs.demo.run",
}
_NAMES = {"open": "open_dataset"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), _NAMES.get(name, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
