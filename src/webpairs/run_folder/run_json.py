"""The JSON files of a run folder: what each has to hold before anyone takes a value out of it.

A file that is cut, empty, of other types or without a value that readers need is refused here, in
one sentence that names the file and the cure; so no reader has to look before it takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import orjson

from webpairs.drops import Drop
from webpairs.errors import DamagedFile
from webpairs.files import read_regular

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
NumShards = Annotated[int, msgspec.Meta(ge=0, le=2_000_000)]
"""LAION-5B's 5.85 billion candidates are 600,000 shards of 10,000."""
MAX_SAMPLES: Final = 100_000_000
"""Of a shard."""
NumSamples = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAMPLES)]
Drops = dict[Drop, Count]


class ManifestForm(msgspec.Struct):
    """What `manifest.json` must hold."""

    verb: str
    options: dict[str, Any]
    finished: str | None
    inputs: list[InputForm]
    model: ModelForm | None = None
    funnel: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    retries: NumShards | msgspec.UnsetType = msgspec.UNSET
    webpairs: str = ""
    given_columns: list[tuple[str, str]] | msgspec.UnsetType = msgspec.UNSET
    web: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


class InputForm(msgspec.Struct):
    """An input in a manifest."""

    path: str
    name: str
    kind: str
    bytes: Count


class ModelForm(msgspec.Struct):
    """A model in a manifest."""

    spec: str
    weights_sha256: str
    dim: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    threshold: float | None = None


class BuildOptionsForm(msgspec.Struct):
    """The options that readers take from the manifest of a build."""

    shard_size: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
    images: str | None = None
    threshold: float | None = None


class ExtractForm(msgspec.Struct):
    """What `stats/extract.json` must hold."""

    records: Count
    pages: Count
    found: Count
    drops: Drops
    bytes_read: Count = 0
    warnings: list[str] = []
    seconds: float = 0


class DedupeForm(msgspec.Struct):
    """What `stats/dedupe.json` must hold."""

    shards: NumShards
    drops: Drops


class ShardForm(msgspec.Struct):
    """What `stats/NNNNN.json` must hold."""

    samples: NumSamples
    drops: Drops
    shard: str = ""
    candidates: NumSamples = 0
    seconds: dict[str, float] = {}
    files: dict[str, Any] = {}
    image_bytes: Count = 0


class RetryForm(msgspec.Struct):
    """What `stats/retry-NNNNN.json` must hold."""

    number: NumShards
    reasons: list[Drop]
    first_shard: NumShards
    shards: dict[str, Drops]
    when: str


def read_form(path: Path, form: type[msgspec.Struct]) -> dict[str, Any] | None:
    """Return the JSON object in `path`, checked against `form`; None where there is no such file.

    Values that `form` has a default for are there, whether or not the file has them.

    Raises DamagedFile for all else.
    """
    try:
        content = orjson.loads(read_regular(path))
        checked = msgspec.convert(content, form)
        if isinstance(checked, ManifestForm) and checked.verb == "build":
            msgspec.convert(checked.options, BuildOptionsForm)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise DamagedFile(path, error) from error
    known: dict[str, Any] = msgspec.to_builtins(checked)
    return content | {name: value for name, value in known.items() if name not in content}


def read_manifest_file(path: Path) -> dict[str, Any] | None:
    """Return a manifest, None where there is none; raises DamagedFile."""
    return read_form(path, ManifestForm)
