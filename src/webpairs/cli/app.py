"""Run the command: errors that a user can mend are one line, a stop is told, help is grouped."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import typer

from webpairs.cli.help import HELP_NAMES, Verb, Verbs, epilog
from webpairs.engine.malloc import share_one_heap
from webpairs.errors import ConfigError, RunError

app = typer.Typer(
    cls=Verbs,
    context_settings={"help_option_names": list(HELP_NAMES)},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Turn web crawls into CLIP-filtered image-text datasets in the form of LAION-400M.",
    epilog="Exit codes: 0 done; 1 the run could not go on, or something is wrong; 2 an option or "
    "an input cannot be used; 3 nothing was kept of what the inputs hold; 130 or 143 stopped.",
)


def verb(name: str, *examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a function a verb; its help ends with the examples."""
    return app.command(name, cls=Verb, epilog=epilog(examples))


_PLAIN: Final = (
    (re.compile(r"Input should be a valid integer\b[^:]*"), "it is not a whole number"),
    (re.compile(r"Input should be a valid number\b[^:]*"), "it is not a number"),
    (re.compile(r"Input should be a valid boolean\b[^:]*"), "it is neither true nor false"),
)
"""Words of the library that reads numbers, and what they mean to a user."""


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM; not an error, and nothing may swallow it."""


def run() -> None:
    """Run the command; errors a user can mend are one line, exit code 2 (options) or 1 (run).

    An unexpected error is one line too, exit code 70, with its traceback in a file.
    """
    share_one_heap()
    output = _output()
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise _Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        # Not standalone: usage errors are to be one line as all others, not a box.
        code = app(prog_name="webpairs", standalone_mode=False)
        sys.stdout.flush()  # while a reader that has gone can still be told from a fault
        sys.exit(code)
    except BaseException as error:
        # A library that was interrupted, such as DuckDB, may have made an error of its own of it.
        if received:
            # A second Ctrl-C while Python ends would only print a traceback.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            print("webpairs: stopped; type the same line again to go on", file=sys.stderr)
            sys.exit(128 + received[0])
        if (line := _line_of(error)) is None:
            from webpairs.cli import last_resort

            # click and rich make a SystemExit of any broken pipe, also of one to a worker.
            if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
                error = error.__context__
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise
            if isinstance(error, BrokenPipeError) and last_resort.is_broken(output):
                # What Python still has to flush goes nowhere, or it would complain.
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                sys.exit(1)
            print(f"webpairs: {last_resort.told_of(error, sys.argv)}", file=sys.stderr)
            sys.exit(last_resort.EXIT_CODE)
        if line:
            from webpairs.cli.say import visible_lines
            from webpairs.url_user import without_user

            print(f"webpairs: {visible_lines(without_user(line))}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RunError) else 2)


def _output() -> int | None:
    """Return a descriptor of standard output that stays what it is; rich replaces a broken one."""
    try:
        return os.dup(1)
    except OSError:
        return None


def _line_of(error: BaseException) -> str | None:
    """Return the line that tells the user about an error, None for a fault of webpairs."""
    if isinstance(error, (ConfigError, RunError)):
        return str(error)
    # Typer's usage errors; their class is click's or, in later versions, a copy of it.
    format_message: Callable[[], str] | None = getattr(error, "format_message", None)
    if format_message is None:
        return None
    message = " ".join(format_message().split())
    for theirs, ours in _PLAIN:
        message = theirs.sub(ours, message)
    # Without a message it is the missing verb, for which typer has printed the help.
    path = getattr(getattr(error, "ctx", None), "command_path", "webpairs")
    return f"{message.rstrip('.')}: see {path} --help" if message else ""


def exit_if_empty(*, kept_nothing: bool) -> None:
    """End with an exit code of its own where a verb kept nothing of what there was."""
    if kept_nothing:
        from webpairs.run.advice import NOTHING_KEPT

        raise typer.Exit(NOTHING_KEPT)


def make_progress() -> Any:
    """Return the progress that a verb shows."""
    from webpairs.progress import RunProgress

    return RunProgress()


def split_list(text: str | None) -> tuple[str, ...] | None:
    """Return the parts of a list with commas; None of none."""
    if text is None:
        return None
    return tuple(one.strip() for one in text.split(",") if one.strip())
