"""Units of work for the engine's tests, importable by its worker processes."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from webpairs.engine.link import Link
from webpairs.errors import ConfigError


class Unportable(Exception):
    """An error that pickle can write and not read."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def double(image: Any) -> Any:
    return image * 2


def square(number: int, link: Link) -> int:
    link.report({"done": 1, "sum": number})
    return number**2


def pid(unit: int, link: Link) -> int:
    return os.getpid()


def slow_pid(unit: int, link: Link) -> int:
    time.sleep(0.2)
    return os.getpid()


def embed(number: int, link: Link) -> Any:
    image = np.full((2, 2, 3), number, dtype=np.uint8)
    batch = np.stack([image, link.preprocess(image)])
    return link.embed_images(batch).tolist(), link.embed_texts(["a", "bb"]).tolist()


def fail(kind: str, link: Link) -> None:
    if kind == "config":
        raise ConfigError("this option")
    if kind == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/file")
    if kind == "eof":
        raise EOFError("short")
    if kind == "unportable":
        raise Unportable(1, 2)
    raise ValueError("seven")


def fail_or_spin(kind: str, link: Link) -> None:
    if kind == "spin":
        spin(300)  # longer than a test may take
    raise ValueError("seven")


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def die_once(unit: tuple[int, str, str], link: Link) -> int:
    number, folder, how = unit
    tries = Path(folder) / str(number)
    with tries.open("a") as file:
        file.write("x")
    if how == "always" or (how and tries.read_text() == "x"):
        if how == "exit":
            os._exit(7)
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_asking(unit: tuple[int, str], link: Link) -> int:
    """Ask for embeddings in one thread and die before the answer can come, the first time."""
    number, folder = unit
    mark = Path(folder) / str(number)
    if not mark.exists():
        mark.touch()
        link._connection.send(("embed_images", 0, np.ones((2_000, 8, 8, 3), np.uint8)))  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGKILL)
    link.embed_images(np.ones((1, 2, 2, 3), np.uint8))
    return number


def meet(unit: tuple[int, str], link: Link) -> int:
    """Wait until three units are under way at once."""
    number, folder = unit
    (Path(folder) / f"met-{number}").touch()
    while len(list(Path(folder).glob("met-*"))) < 3:
        time.sleep(0.01)
    link.embed_texts(["a"])
    return number


def spin_noting_pid(unit: str, link: Link) -> None:
    (Path(os.environ["NOTE"]) / f"pid-{os.getpid()}").touch()
    spin(100)


def sleep_noting_pid(unit: str, link: Link) -> None:
    (Path(os.environ["NOTE"]) / f"pid-{os.getpid()}").touch()
    time.sleep(100)
