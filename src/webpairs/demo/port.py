"""The port of a live little web, chosen once and kept: it is in every picture's URL."""

from __future__ import annotations

import errno
import hashlib
import socket
from pathlib import Path
from typing import Final

from webpairs.demo.live import SERVER
from webpairs.errors import ConfigError

PORT_FILE: Final = "port"
_PORTS: Final = range(20_000, 32_768)
"""Below those that Linux gives to outgoing connections, which are 32,768 and more."""
_TRIES: Final = 100


def kept_port(folder: Path) -> int:
    """Return the port of the little web in `folder`, as its file `port` says.

    Without that file a port is chosen that follows from the folder's path and is free, and is
    written there. Raises ConfigError when the file holds no port, OSError as writing does.
    """
    file = folder / PORT_FILE
    try:
        said = file.read_text()
    except FileNotFoundError:
        port = _free_port(folder)
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{port}\n")
        return port
    except UnicodeDecodeError:
        said = ""
    if not said.strip().isascii() or not said.strip().isdigit() or int(said) not in _PORTS:
        raise ConfigError(
            f"{file} holds no port from {_PORTS[0]} to {_PORTS[-1]}: name another folder with "
            "--out, or remove this one to start anew"
        )
    return int(said)


def _free_port(folder: Path) -> int:
    digest = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).digest()
    start = int.from_bytes(digest[:8])
    for offset in range(_TRIES):
        port = _PORTS[(start + offset) % len(_PORTS)]
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((SERVER, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
    raise ConfigError(
        f"none of {_TRIES} ports of {SERVER} is free to serve the little web on: end what holds "
        "them, or name another folder with --out"
    )
