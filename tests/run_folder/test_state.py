"""A run at work is seen from outside: its state file, its lock, `status` and its metrics."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from support import web_run
from support.run_folders import wait_for

from webpairs.cli.print_status import print_status
from webpairs.demo.crawl_files import write_crawl_files
from webpairs.demo.server import served
from webpairs.errors import ConfigError, RunError
from webpairs.figures import FetchFigures, HostFigures
from webpairs.options import BuildOptions, RetryOptions
from webpairs.progress import RunProgress, StageTotal
from webpairs.run.run import build_dataset
from webpairs.run_folder.lock import is_locked, locked
from webpairs.run_folder.metrics import served_metrics
from webpairs.run_folder.state import MAX_STATE_BYTES, RunState, at_work, read_state
from webpairs.run_folder.status import read_status

SLOW = HostFigures("pics.example", waiting=1_900, share=0.4, rate=8.0)
FETCH = FetchFigures(5_000, 2_000, (SLOW,))
STAGE = StageTotal("build", "candidates", 5_000, done=1_000)
COUNTS = {"done": 2_000, "samples": 1_200, "similarity": 500, "http_4xx": 300}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webpairs.run_folder.state.INTERVAL_S", 0.02)


def quiet() -> RunProgress:
    return RunProgress(quiet=True)


def stopped_copy(run: Path, out: Path) -> Path:
    """Copy a finished run folder as one that was stopped before its last shards."""
    shutil.copytree(run / "stats", out / "stats")
    for name in ("00001", "00004"):
        (out / "stats" / f"{name}.json").unlink()
    manifest = orjson.loads((run / "manifest.json").read_bytes())
    (out / "manifest.json").write_bytes(orjson.dumps(manifest | {"finished": None}))
    return out


def state_of(**changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    made = RunState("build", os.getpid(), socket.gethostname(), now, now, None).as_json()
    return made | changes


def write_state(out: Path, content: object) -> None:
    (out / "work").mkdir(exist_ok=True)
    (out / "work" / "state.json").write_bytes(orjson.dumps(content))


def test_status_sees_a_running_build(
    loose_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = stopped_copy(loose_run, tmp_path / "out")
    progress = quiet()
    with (
        locked(out),
        at_work(out, "build", progress),
        progress.stage(STAGE, lambda: FETCH),
    ):
        progress.add(COUNTS)
        assert wait_for(lambda: (state := read_state(out)) and state.stage is not None)
        status = read_status(out)
        print_status(status)
        machine = json.loads(json.dumps(status.as_json()))
    said = " ".join(capsys.readouterr().out.split())
    assert (
        f"at work: webpairs build, process {os.getpid()} on {socket.gethostname()}, since" in said
    )
    assert "build: 3,000/5,000 candidates" in said
    assert "samples 1,200 · similarity 500 · http_4xx 300" in said
    assert "time left: about 4 min for build" in said
    assert (
        "one host, pics.example, holds 1,900 of the 2,000 candidates left; at 8/s that takes 4 min"
    ) in said
    assert "type the line" not in said
    assert machine["running"] is True
    assert machine["state"]["pid"] == os.getpid()
    assert machine["state"]["stage"]["seconds_left"] == 1_900 / 8
    assert machine["missing_shards"] == ["00001", "00004"]
    assert not (out / "work").exists(), "the run ended well"


def test_status_of_a_run_that_was_stopped_says_how_to_go_on(
    loose_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = stopped_copy(loose_run, tmp_path / "out")
    progress = quiet()
    with (  # noqa: PT012
        pytest.raises(RunError),
        locked(out),
        at_work(out, "build", progress),
    ):
        with progress.stage(STAGE):
            progress.add(COUNTS)
            assert wait_for(lambda: (state := read_state(out)) and state.stage is not None)
        raise RunError("the disk is full")
    status = read_status(out)
    assert not status.is_running
    print_status(status)
    said = capsys.readouterr().out
    assert f"not at work: process {os.getpid()}" in said
    assert "type the line that started it again to go on" in said
    assert "at work: webpairs" not in said


def test_a_refused_start_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), locked(tmp_path), at_work(tmp_path, "build", quiet()):
        raise ConfigError("other options")
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == []


STATES: list[tuple[str, object, bool]] = [
    ("nothing", None, False),
    ("no JSON", b"{", False),
    ("a list", [], False),
    ("of another format", {"pid": 1}, False),
    ("too large", state_of(host="h" * MAX_STATE_BYTES), False),
    ("with control characters", state_of(host="a\x1b]0;b"), False),
    ("with a time that is none", state_of(written="soon"), False),
    ("sound", state_of(), True),
]


@pytest.mark.parametrize(
    ("content", "is_read"), [s[1:] for s in STATES], ids=[s[0] for s in STATES]
)
def test_a_state_that_makes_no_sense_is_none(
    tmp_path: Path, content: object, is_read: bool
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "state.json").write_bytes(content)
    elif content is not None:
        write_state(tmp_path, content)
    assert (read_state(tmp_path) is not None) == is_read


LONG_AGO = (datetime.now(UTC) - timedelta(days=1)).isoformat()
NEVER_A_PROCESS = 2**22 + 1  # the kernel's largest limit is 2**22 (proc(5), pid_max)
WHO = [
    ("the lock is free, the process was killed", state_of(pid=NEVER_A_PROCESS), False, False, True),
    ("the lock is held, the state is older", state_of(pid=NEVER_A_PROCESS), True, True, False),
    ("the lock is held", state_of(), True, True, True),
    ("another host, which wrote just now", state_of(host="elsewhere"), False, True, True),
    ("another host, a day ago", state_of(host="elsewhere", written=LONG_AGO), False, False, True),
]


@pytest.mark.parametrize(
    ("state", "hold", "is_running", "has_state"), [w[1:] for w in WHO], ids=[w[0] for w in WHO]
)
def test_whether_a_process_is_at_work(
    loose_run: Path,
    tmp_path: Path,
    state: dict[str, Any],
    hold: bool,
    is_running: bool,
    has_state: bool,
) -> None:
    out = stopped_copy(loose_run, tmp_path / "out")
    if state["written"] != LONG_AGO:  # the parameters are as old as the whole run of tests
        state = state | {"written": datetime.now(UTC).isoformat()}
    write_state(out, state)
    with ExitStack() as stack:
        if hold:
            stack.enter_context(locked(out))
        status = read_status(out)
    assert status.is_running == is_running
    assert (status.state is not None) == has_state


def test_looking_at_the_lock_does_not_take_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    # An instant in which `status` looks does not refuse a build that starts.
    (tmp_path / ".lock").touch()
    looks = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import fcntl, sys, time; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_SH); "
            "print(flush=True); time.sleep(0.1)",
            str(tmp_path / ".lock"),
        ],
        stdout=subprocess.PIPE,
    )
    with looks:
        assert looks.stdout is not None
        looks.stdout.readline()
        with locked(tmp_path):
            pass


def test_a_build_at_work_is_told_of_as_it_goes(tmp_path: Path) -> None:
    """The whole way: the fetcher's queues, the coordinator's counts, the file, the metrics."""
    web, port = web_run.draw(tmp_path)
    files = write_crawl_files(web, tmp_path)
    out = tmp_path / "out"
    options = web_run.options_of(
        list(files.warc), out, workers=1, per_host=1, per_host_rate=20, limit=30, metrics_port=0
    )
    said: list[str] = []

    class Said(RunProgress):
        def say(self, line: str) -> None:
            said.append(line)

    with served(web, port):
        build = threading.Thread(
            target=build_dataset,
            args=(options, Said(quiet=True)),
            kwargs={"resolver": web_run.resolver_of(web)},
        )
        build.start()
        seen: list[RunState] = []
        texts: list[str] = []

        def look() -> bool:
            state = read_state(out)
            if state is not None and state.stage is not None and state.stage.fetch.hosts:
                seen.append(state)
                texts.append(get(said[0].removeprefix("metrics: ")))
            return not build.is_alive()

        assert wait_for(look, 60)
        build.join()
    assert seen
    stage = seen[0].stage
    assert stage is not None
    assert stage.name == "build"
    assert 0 < stage.fetch.waiting <= stage.fetch.asked <= stage.total
    assert all(host.host.endswith(".example") for host in stage.fetch.hosts)
    assert stage.fetch.hosts[0].rate <= 20
    assert any("webpairs_stage_total" in text and "webpairs_host_waiting" in text for text in texts)
    assert read_status(out).finished
    assert not (out / "work").exists()
    with pytest.raises(OSError, match="refused"):
        get(said[0].removeprefix("metrics: "))


def get(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
        return reply.read().decode()


def test_metrics_are_the_figures_of_status() -> None:
    progress = quiet()
    with served_metrics(0, progress) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        assert "webpairs" not in get(url), "no stage yet"
        with progress.stage(STAGE, lambda: FETCH):
            progress.add(COUNTS)
            text = get(url)
            figures = progress.figures()
        assert figures is not None
        labels = 'stage="build",unit="candidates"'
        for line in (
            f"webpairs_stage_total{{{labels}}} 5000.0",
            f"webpairs_stage_done{{{labels}}} 3000.0",
            f"webpairs_stage_left_seconds{{{labels}}} {figures.seconds_left}",
            'webpairs_stage_outcomes{outcome="samples",stage="build"} 1200.0',
            "webpairs_requests_waiting 2000.0",
            'webpairs_host_waiting{host="pics.example"} 1900.0',
            'webpairs_host_rate{host="pics.example"} 8.0',
        ):
            assert line in text
        for path, headers, status in (
            ("/metrics", {"Host": f"evil.example:{port}"}, 403),
            ("/metrics", {"Host": "evil.example"}, 403),
            ("/", {}, 404),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(f"http://127.0.0.1:{port}{path}", **headers)
            assert refused.value.code == status
            refused.value.close()


@pytest.mark.parametrize("verb", ["build", "retry"])
def test_a_taken_port_is_refused_before_any_work(
    loose_run: Path, tmp_path: Path, verb: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        progress = quiet()
        with (
            pytest.raises(ConfigError, match=f"--metrics-port {port} cannot be had"),
            at_work(tmp_path, verb, progress, port),
        ):
            raise AssertionError("work began")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match="--metrics-port"):
        BuildOptions(inputs=("x",), out="y", metrics_port=port)


def test_the_port_of_a_retry_reaches_its_build() -> None:
    options = RetryOptions(out="y", metrics_port=0)
    assert options.build_options({"inputs": ("x",)}).metrics_port == 0
