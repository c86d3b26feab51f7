"""What a run tells about itself while it works: `work/state.json`, and figures for Prometheus.

The coordinator replaces the file every `INTERVAL_S`; `webpairs status` reads it. It names the few
slowest hosts and no URL, and goes with `work/` when the run has finished. The run never waits for
it and never fails for it.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from webpairs.figures import StageFigures, printable
from webpairs.files import temporary_name

if TYPE_CHECKING:
    from webpairs.progress import RunProgress

INTERVAL_S: Final = 1.0
MAX_STATE_BYTES: Final = 64 << 10
"""A larger file is not one that a run wrote: five hosts and every drop reason take 3 kB."""
FRESH_S: Final = 30.0
"""A process on another host is believed to work while its state is not older: locks do not always
travel between hosts."""


@dataclass(frozen=True, slots=True)
class RunState:
    """The process at work and its stage, when it last wrote them."""

    verb: str
    pid: int
    host: str
    started: datetime
    written: datetime
    stage: StageFigures | None
    """None between stages, such as while a model is loaded."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the state in `content`; raise KeyError, TypeError or ValueError without."""
        stage = content["stage"]
        return cls(
            verb=printable(content["verb"]),
            pid=max(1, int(content["pid"])),
            host=printable(content["host"]),
            started=_time(content["started"]),
            written=_time(content["written"]),
            stage=None if stage is None else StageFigures.from_json(stage),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "verb": self.verb,
            "pid": self.pid,
            "host": self.host,
            "started": self.started.isoformat(),
            "written": self.written.isoformat(),
            "stage": None if self.stage is None else self.stage.as_json(),
        }

    @property
    def is_of_this_host(self) -> bool:
        """Say whether the process ran on this host."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Say whether the process is there; of another host, whether its state is fresh."""
        if not self.is_of_this_host:
            return abs((datetime.now(UTC) - self.written).total_seconds()) < FRESH_S
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (OverflowError, OSError):
            pass  # another user's
        return True


def read_state(out: Path) -> RunState | None:
    """Return what the last process at work on run folder `out` wrote; None without, or of a file
    that makes no sense."""
    try:
        with _state_file(out).open("rb") as file:
            data = file.read(MAX_STATE_BYTES + 1)
        if len(data) > MAX_STATE_BYTES:
            return None
        return RunState.from_json(orjson.loads(data))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


@contextmanager
def at_work(
    out: Path, verb: str, progress: RunProgress, metrics_port: int | None = None
) -> Generator[None]:
    """Tell how far the run in `out` is while the block runs; remove `work/` when it ends well.

    `metrics_port` as in `BuildOptions`; raises ConfigError when it is taken.
    """
    with ExitStack() as stack:
        if metrics_port is not None:
            from webpairs.run_folder.metrics import served_metrics

            port = stack.enter_context(served_metrics(metrics_port, progress))
            progress.say(f"metrics: http://127.0.0.1:{port}/metrics")
        writer = _Writer(out, verb, progress)
        stack.callback(writer.stop)
        try:
            yield
        except BaseException as error:
            vars(error)["run_folder"] = out  # where the command may keep the traceback
            raise
    shutil.rmtree(out / "work", ignore_errors=True)


class _Writer:
    """A thread that writes the state until it is stopped."""

    def __init__(self, out: Path, verb: str, progress: RunProgress) -> None:
        self._file = _state_file(out)
        self._verb = verb
        self._progress = progress
        self._started = datetime.now(UTC)
        self._num_stages = 0
        self._stopped = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._run, name="run state", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write a last time; a run that had not begun, such as a refused one, leaves no trace."""
        self._stopped.set()
        self._thread.join()
        if self._num_stages:
            self._write()
            return
        with suppress(OSError):
            self._file.unlink()
            self._file.parent.rmdir()

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            self._write()

    def _write(self) -> None:
        stage = self._progress.figures()
        self._num_stages += stage is not None
        state = RunState(
            self._verb, os.getpid(), socket.gethostname(), self._started, datetime.now(UTC), stage
        )
        # Not synced: after a power cut an older or an empty file says as much.
        with suppress(OSError):
            self._file.parent.mkdir(exist_ok=True)
            temporary = temporary_name(self._file)
            temporary.write_bytes(orjson.dumps(state.as_json(), option=orjson.OPT_INDENT_2))
            temporary.replace(self._file)


def _state_file(out: Path) -> Path:
    return out / "work" / "state.json"


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
