"""Turn crawl files into CLIP-filtered image-text datasets in the form of LAION-400M.

`build_dataset`, `extract_candidates`, `read_status` and `run_demo` are the command's verbs, from
Python; they are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from webpairs.demo.run import run_demo
    from webpairs.options import BuildOptions, ExtractOptions
    from webpairs.run import build_dataset, extract_candidates
    from webpairs.status import read_status

__all__ = [
    "BuildOptions",
    "ExtractOptions",
    "__version__",
    "build_dataset",
    "extract_candidates",
    "read_status",
    "run_demo",
]

_MODULES = {
    "BuildOptions": "webpairs.options",
    "ExtractOptions": "webpairs.options",
    "build_dataset": "webpairs.run",
    "extract_candidates": "webpairs.run",
    "read_status": "webpairs.status",
    "run_demo": "webpairs.demo.run",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
