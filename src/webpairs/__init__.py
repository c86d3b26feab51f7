"""Turn crawl files into CLIP-filtered image-text datasets in the form of LAION-400M."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
