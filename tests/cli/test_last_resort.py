"""An unexpected error is one line and a file with its traceback, in every verb."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.run_folders import SmallCrawl

from webpairs import cli
from webpairs.cli.app import app
from webpairs.cli.last_resort import EXIT_CODE, without_secrets
from webpairs.obtain.limits import FetchRules
from webpairs.obtain.service import FetchService

Command = Callable[..., tuple[int, str]]
VERBS = sorted(str(info.name) for info in app.registered_commands)


@pytest.fixture
def webpairs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """Run the command in this process: exit code and standard error; TMPDIR is `tmp_path/tmp`."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["webpairs", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.run()
        code = caught.value.code
        return 0 if code is None else int(code), capsys.readouterr().err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def least_arguments(verb: str) -> list[str]:
    """Return what a verb cannot do without."""
    command: Any = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    given: list[str] = []
    for one in command.params:
        if one.required:
            given += ["1"] if one.param_type_name == "argument" else [one.opts[0], "1"]
    return given


def fail_in(monkeypatch: pytest.MonkeyPatch, verb: str, fail: Callable[[], None]) -> None:
    """Let a verb call `fail` instead of what it does."""
    (info,) = (one for one in app.registered_commands if one.name == verb)
    assert info.callback is not None

    @functools.wraps(info.callback)
    def failing(*_: object, **__: object) -> None:
        fail()

    monkeypatch.setattr(info, "callback", failing)


def kept(folder: Path) -> str:
    """Return the text of the one file with a traceback in `folder`."""
    (path,) = folder.glob("webpairs-error-*.txt")
    assert path.stat().st_mode & 0o077 == 0, "for its owner alone"
    return path.read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_an_unexpected_error_in_any_verb(
    webpairs: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a fault of ours")

    fail_in(monkeypatch, verb, fail)
    code, err = webpairs(verb, *least_arguments(verb))
    assert code == EXIT_CODE == 70
    assert err.count("\n") == 1
    assert err.startswith("webpairs: unexpected error (ZeroDivisionError: a fault of ours)")
    assert str(tmp_path / "tmp" / "webpairs-error-") in err
    text = kept(tmp_path / "tmp")
    assert f"command: webpairs {verb}" in text
    assert "Traceback (most recent call last)" in text
    assert "in fail" in text
    for word in ("webpairs 0", "Python 3", "Linux"):
        assert word in text


def recurse() -> None:
    recurse()


def raise_it(error: BaseException) -> None:
    raise error


ERRORS: list[tuple[Callable[[], None], str]] = [
    (recurse, "unexpected error (RecursionError: maximum recursion depth"),
    (lambda: raise_it(MemoryError()), "out of memory (MemoryError): use fewer --workers"),
    (lambda: raise_it(KeyError("a\nb\x1b[2J")), "unexpected error (KeyError: 'a\\nb\\x1b[2J')"),
    (lambda: raise_it(ValueError("a\nb\x1b[2J\udcff")), "(ValueError: a b [2J)"),
    (lambda: raise_it(OSError(5, "Input/output error")), "(OSError: [Errno 5]"),
    (lambda: raise_it(BrokenPipeError(32, "of a worker")), "[Errno 32] of a worker"),
    (lambda: raise_it(BaseExceptionGroup("two", [KeyError(1)])), "two (1 sub-exception)"),
    (lambda: raise_it(RuntimeError("x" * 5_000)), "x" * 200 + ")"),
    (lambda: raise_it(AssertionError()), "unexpected error (AssertionError): this is"),
]


@pytest.mark.parametrize(("fail", "words"), ERRORS)
def test_any_error_is_one_line(
    webpairs: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fail: Callable[[], None],
    words: str,
) -> None:
    fail_in(monkeypatch, "status", fail)
    code, err = webpairs("status", "x")
    assert (code, err.count("\n")) == (EXIT_CODE, 1)
    assert words in err
    assert "Traceback" in kept(tmp_path / "tmp")


def test_without_a_folder_to_write_to_the_traceback_is_shown(
    webpairs: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not-there"))
    fail_in(monkeypatch, "status", lambda: raise_it(RuntimeError("ours")))
    code, err = webpairs("status", "x")
    assert code == EXIT_CODE
    assert "Traceback" in err
    assert err.splitlines()[-1].endswith(
        "its traceback is above, since no file can be written, please report it"
    )


def build_arguments(web: SmallCrawl, out: Path, *more: str) -> list[str]:
    inputs = map(str, web.files.warc)
    return ["build", *inputs, "--images", "archive", "--model", "tiny", "--out", str(out), *more]


@pytest.mark.parametrize("writable", [True, False])
def test_in_a_run_the_file_is_in_its_work_folder(
    webpairs: Command,
    monkeypatch: pytest.MonkeyPatch,
    little_web: SmallCrawl,
    tmp_path: Path,
    writable: bool,
) -> None:
    out = tmp_path / "out"

    def fail(*_: object) -> None:
        if not writable:
            (out / "work").rename(out / "columns")
            (out / "work").write_text("not a folder")
        raise KeyError("of ours")

    monkeypatch.setattr("webpairs.run.run.start_or_resume", fail)
    code, err = webpairs(*build_arguments(little_web, out))
    assert code == EXIT_CODE
    assert "KeyError: 'of ours'" in err
    folder = out / "work" if writable else tmp_path / "tmp"
    assert str(folder) in err
    assert "in build_dataset" in kept(folder)


def test_an_error_in_a_worker_keeps_its_traceback(little_web: SmallCrawl, tmp_path: Path) -> None:
    # A worker is a fresh process: what it imports first makes every shard fail there.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def broken(unit, link): raise SystemExit('a panic of a library')\n"
        "if 'webpairs.engine.worker' in sys.orig_argv:\n"
        "    import webpairs.build.build_shard\n"
        "    webpairs.build.build_shard.build_shard = broken\n"
    )
    out = tmp_path / "out"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "webpairs"),
            *build_arguments(little_web, out, "--workers", "2", "--shard-size", "40"),
        ],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == EXIT_CODE, done.stderr
    line = done.stderr.splitlines()[-1]
    assert "unexpected error (RuntimeError: SystemExit: a panic of a library)" in line
    text = kept(out / "work")
    assert "in a worker:" in text
    assert "in broken" in text


@pytest.mark.parametrize("verb", ["info", "status", "verify"])
def test_a_reader_that_goes_early_is_not_an_error(loose_run: Path, verb: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)  # the reader has gone before the first byte
    with open(theirs, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "webpairs", verb, str(loose_run)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "rror" not in done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://user:pass@bucket/x", "s3://***@bucket/x"),
        ("https://a.example/x?X-Amz-Signature=abc&y=1", "https://a.example/x?***"),
        (
            "no such file: 'https://u:p@a.example/x?sig=1'",
            "no such file: 'https://***@a.example/x?***'",
        ),
        ("https://user:p@ss@a.example/", "https://***@a.example/"),
        ("token hf_abcdefghijklmnop", "token hf_***"),
        (
            "someone@example.org https://a.example/@name",
            "someone@example.org https://a.example/@name",
        ),
    ],
)
def test_secrets_are_left_out(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_the_command_line_is_kept_without_secrets(
    webpairs: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fail_in(monkeypatch, "info", lambda: raise_it(RuntimeError("at https://u:secret@a.example/")))
    _, err = webpairs("info", "https://me:secret@a.example/x?token=secret")
    text = kept(tmp_path / "tmp")
    assert "a.example" in text
    assert "secret" not in text + err


def test_a_fetcher_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its starter waited for ever."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("at the start")

    monkeypatch.setattr("webpairs.obtain.service.Fetcher", fail)
    with pytest.raises(ZeroDivisionError, match="at the start"), FetchService(FetchRules()):
        raise AssertionError("it started")
