"""Import the peers that embeddings are compared with, or skip.

A torchvision wheel built for CUDA does not load its compiled operators beside a CPU torch; its
Python transforms, all that is needed here, work once the operators' names are declared.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest


def import_peer(name: str) -> ModuleType:
    """Import torch, open_clip or transformers; skip the test where one is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch", reason="docs/development.md: comparing with the peers")
        if importlib.util.find_spec("torchvision") and "torchvision" not in sys.modules:
            _import_torchvision(torch)
        return pytest.importorskip(name, reason="docs/development.md: comparing with the peers")


def _import_torchvision(torch: ModuleType) -> None:
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        found = importlib.util.find_spec("torchvision")
        assert found is not None
        assert found.origin is not None
        source = (Path(found.origin).parent / "_meta_registrations.py").read_text()
        declared = re.findall(r'register_(?:meta|fake)\("(?:torchvision::)?(\w+)"\)', source)
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in declared:
            library.define(f"{name}(Tensor x) -> Tensor")
        torch._webpairs_declared = library  # a library's names live as long as it does
        import torchvision  # noqa: F401
