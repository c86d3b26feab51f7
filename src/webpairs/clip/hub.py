"""Finding checkpoints of the Hugging Face hub: in the local cache first, then by download."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from webpairs.clip.checkpoint import (
    CONFIG_FILES,
    TOKENIZER_FILES,
    WEIGHT_FILES,
    find_weights,
    has_tokenizer,
)
from webpairs.errors import ConfigError

_TIMEOUT_S: Final = 10.0


def cached_folder(repo: str, *, with_config: bool) -> Path | None:
    """Return the cache's folder of a repository if its weights are there, without network.

    open_clip caches the weights alone: that is enough unless the configuration is asked for.
    """
    folder = _snapshot(repo)
    if folder is None:
        return None
    if with_config and not any((folder / name).exists() for name in CONFIG_FILES[:2]):
        return None
    try:
        return folder if find_weights(folder) else None
    except ConfigError:  # in parts, some of them not there yet
        return None


def cached_tokenizer(repo: str) -> Path | None:
    """Return the cache's folder of a repository if its tokenizer is there, without network."""
    folder = _snapshot(repo)
    return folder if folder is not None and has_tokenizer(folder) else None


def remote_files(repo: str) -> list[str]:
    """Ask the hub which files of a repository make a checkpoint.

    Raises ConfigError where the hub cannot be reached, does not know the repository, or has its
    weights only in formats that can run code.
    """
    names = _list_files(repo)
    weights = next((name for name in WEIGHT_FILES if name in names), None)
    if weights is None:
        raise ConfigError(
            f"{repo} has no weights as safetensors, the only format read (others can run code): "
            "choose another model, or convert them and give their folder to --model"
        )
    parts: list[str] = []
    if weights.endswith(".index.json"):
        stem = weights.removesuffix(".safetensors.index.json")
        parts = [n for n in names if n.startswith(f"{stem}-") and n.endswith(".safetensors")]
    wanted = (weights, *parts, *CONFIG_FILES, *TOKENIZER_FILES)
    return [name for name in wanted if name in names]


def download(repo: str, files: list[str], *, progress: bool) -> Path:
    """Fetch files into the hub's cache; return their folder. Bars go to stderr."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if progress else disable_progress_bars)()
    try:
        return Path(snapshot_download(repo, allow_patterns=files))
    except Exception as error:
        raise ConfigError(f"could not download {repo}: {_reason(error)}") from error


def download_tokenizer(repo: str, *, progress: bool) -> Path:
    """Fetch only the tokenizer of a repository."""
    return download(repo, list(TOKENIZER_FILES[:2]), progress=progress)


def cache_folder() -> Path:
    """Say where the hub keeps what it downloaded."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _snapshot(repo: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _list_files(repo: str) -> list[str]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(repo, timeout=_TIMEOUT_S)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ConfigError(
            f"the Hugging Face hub has no public model {repo!r}: give it as hf:ORG/NAME"
        ) from error
    # Without network the client raises errors of several libraries: httpx, requests, its own.
    except Exception as error:
        raise ConfigError(
            f"the weights of {repo} are not on this machine and the Hugging Face hub cannot be "
            f"reached ({_reason(error)}): try --model tiny, or download the repository where "
            "there is a network (hf download) and give its folder to --model, or put it into "
            f"{cache_folder()}"
        ) from error
    return [file.rfilename for file in info.siblings or []]


def _reason(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
