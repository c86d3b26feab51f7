"""What a user may ask of `serve`, checked before anything is opened."""

from __future__ import annotations

import ipaddress
import re
import string
from dataclasses import dataclass
from typing import Final

from webpairs.errors import ConfigError
from webpairs.obtain.guard import Guard
from webpairs.options import check_lists

HOST: Final = "127.0.0.1"
PORT: Final = 1234
"""clip-retrieval's."""
ANY: Final = "*"
REPLAY_FIELDS: Final = ("timestamp", "url")

_HOST: Final = re.compile(r"[\w.-]+|\[?[0-9a-fA-F:.]+\]?")
_ORIGIN: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Options of `webpairs serve`.

    Raises ConfigError naming the value, the limit and the fix.
    """

    sources: tuple[str, ...]
    """Folders of datasets."""
    host: str = HOST
    port: int = PORT
    """0: one that is free."""
    allow_image_url: bool = False
    """Whether URLs of images are fetched although others than this machine may ask for it."""
    allow_network: tuple[str, ...] = ()
    """CIDRs that may be reached for it although they are not public."""
    replay_url: str | None = None
    """Where an archive replays captures, with `{timestamp}` (14 digits) and `{url}`."""
    allow_host: tuple[str, ...] = ()
    """Names that the server answers as, beside those of this machine; `*`: any."""
    allow_origin: tuple[str, ...] = ()
    """Origins, such as `https://page.example`, whose pages may read what is served; `*`: all."""
    model: str | None = None
    """The model that made the embeddings, where datasets do not say so."""
    index: str | None = None
    """Folder of the index of a single dataset that webpairs does not write into."""

    def __post_init__(self) -> None:
        check_lists(self)
        if not self.sources or not all(self.sources):
            raise ConfigError("DIR is empty: name a folder that holds a dataset")
        if self.index is not None and len(self.sources) > 1:
            raise ConfigError(
                f"--index {self.index} is of one dataset, and {len(self.sources)} are to be "
                "served: serve that one alone"
            )
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"--port {self.port} is out of range: use 0 (any) to 65535")
        Guard(self.allow_network)
        for host in self.allow_host:
            if host != ANY and not _HOST.fullmatch(host):
                raise ConfigError(
                    f"--allow-host {host!r} is not a host's name: use one such as "
                    "search.example.org, without scheme and port, or * for any"
                )
        for origin in self.allow_origin:
            if origin not in (ANY, "null") and not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"--allow-origin {origin!r} is not an origin: use one such as "
                    "https://page.example.org, without a path, or * for all"
                )
        if self.replay_url is not None:
            _check_replay(self.replay_url)

    @property
    def is_everywhere(self) -> bool:
        """Tell whether the server listens at every address of the machine."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return not self.host

    @property
    def is_local(self) -> bool:
        """Say whether only this machine can ask."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def fetches_images(self) -> bool:
        """Say whether images are fetched by their URL."""
        return self.is_local or self.allow_image_url


def _check_replay(template: str) -> None:
    try:
        names = [name for _, name, *_ in string.Formatter().parse(template) if name is not None]
    except ValueError:
        names = [""]
    if (
        not template.startswith(("http://", "https://"))
        or "url" not in names
        or not set(names) <= set(REPLAY_FIELDS)
    ):
        raise ConfigError(
            f"--replay-url {template!r} is none: use a URL with {{url}} and, before it, "
            "{timestamp}, such as https://web.archive.org/web/{timestamp}/{url}"
        )
