"""The model of a run that goes on is the one it was built with, from this machine alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from webpairs.clip import hub
from webpairs.errors import ConfigError
from webpairs.run.model import same_model


def test_a_manifest_fetches_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of a stranger does not decide what is fetched, with the user's token."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the hub was asked")

    for name in ("_list_files", "download", "download_tokenizer"):
        monkeypatch.setattr(hub, name, refuse)
    for spec in ("hf:nobody/has-this", "ViT-bigG-14/metaclip_fullcc"):
        facts = {"spec": spec, "weights_sha256": "0" * 64, "threshold": 0.3}
        with pytest.raises(ConfigError, match="does not decide what is fetched"):
            same_model(Path("out"), facts)
