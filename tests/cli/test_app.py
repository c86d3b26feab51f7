"""The command: a mistake is one line and exit code 2, before anything is made; help is whole."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
import typer
from support.paths import DOCS
from support.run_folders import SmallCrawl

from webpairs import cli
from webpairs.cli import last_resort
from webpairs.errors import ConfigError, RunError
from webpairs.version import __version__

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def webpairs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run the command in this process: exit code, standard output, standard error."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["webpairs", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.run()
        said = capsys.readouterr()
        code = caught.value.code
        return 0 if code is None else int(code), said.out, said.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def refuse(webpairs: Command, *arguments: object) -> str:
    """Run a command that must be refused in one line; return the line."""
    code, out, err = webpairs(*arguments)
    assert code == 2, err
    assert out == ""
    assert err.startswith("webpairs: ")
    assert err.count("\n") == 1, "one line"
    assert "Traceback" not in err
    return err


BUILD = ("build", "--images", "archive")

BAD_OPTIONS: list[tuple[tuple[str, ...], list[str]]] = [
    (("--model", "tony"), ["'tony'", "tiny"]),
    (("--recipe", "laion400"), ["'laion400'", "laion400m"]),
    (("--languages", "eng"), ["--languages 'eng'", "did you mean 'en'"]),
    (("--languages", ""), ["--languages"]),
    (("--texts", "alt,titel"), ["--texts 'titel'", "did you mean 'title'"]),
    (("--image-sources", "src,scrset"), ["--image-sources 'scrset'", "did you mean 'srcset'"]),
    (("--per-host", "0"), ["--per-host 0", "1 to 1024"]),
    (("--per-host-rate", "-1"), ["--per-host-rate -1", "0 for no limit"]),
    (("--connections", "0"), ["--connections 0"]),
    (("--timeout", "0"), ["--timeout 0", "1 to 3600"]),
    (("--retries", "-1"), ["--retries -1"]),
    (("--allow-network", "10.0.0.0/33"), ["10.0.0.0/33"]),
    (("--contact", "me"), ["--contact 'me'", "mail"]),
    (("--ignore-signals", "robots"), ["'robots'", "robots.txt"]),
    (("--model", "none", "--threshold", "0.3"), ["--threshold 0.3", "--model none"]),
    (("--images", "arcive"), ["'arcive'", "did you mean 'archive'"]),
    (("--resize", "crop"), ["--resize 'crop'", "center-crop"]),
    (("--threshold", "1.5"), ["--threshold 1.5", "-1", "1"]),
    (("--threshold", "-1.01"), ["--threshold -1.01"]),
    (("--threshold", "nan"), ["--threshold nan"]),
    (("--threshold", "high"), ["--threshold", "number"]),
    (("--image-size", "8"), ["--image-size 8", "16"]),
    (("--image-format", "jpg"), ["--image-format 'jpg'", "did you mean 'jpeg'"]),
    (("--image-quality", "0"), ["--image-quality 0", "1 to 100 for jpeg"]),
    (("--image-format", "png", "--image-quality", "95"), ["--image-quality 95", "0 to 9 for png"]),
    (("--image-format", "png", "--resize", "none"), ["--image-format png", "--resize none"]),
    (("--image-quality", "9", "--resize", "none"), ["--image-quality 9", "--resize none"]),
    (("--blur-boxes", "faces", "--resize", "none"), ["--blur-boxes faces", "--resize none"]),
    (("--min-bytes", "-1"), ["--min-bytes -1", "bytes"]),
    (("--min-side", "-1"), ["--min-side -1", "pixels"]),
    (("--max-aspect", "0.5"), ["--max-aspect 0.5", "1"]),
    (("--max-aspect", "nan"), ["--max-aspect nan"]),
    (("--image-size", "256px"), ["--image-size", "not a whole number"]),
    (("--threshold", "abc"), ["--threshold", "not a number"]),
    (("--shard-size", "0"), ["--shard-size 0"]),
    (("--limit", "0"), ["--limit 0"]),
    (("--seed", "-1"), ["--seed -1"]),
    (("--workers", "0"), ["--workers 0"]),
    (("--max-memory", "lots"), ["'lots'", "4GB"]),
    (("--max-memory", "1MB"), ["--max-memory 1,000,000 bytes", "500 MB"]),
    (("--metrics-port", "65536"), ["--metrics-port 65536", "0 to 65535"]),
    (("--treshold", "0.3"), ["--treshold", "--threshold"]),
]


@pytest.mark.parametrize(
    ("arguments", "words"), BAD_OPTIONS, ids=[" ".join(a) for a, _ in BAD_OPTIONS]
)
def test_a_bad_option_is_refused_before_anything_is_made(
    webpairs: Command,
    little_web: SmallCrawl,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: list[str],
) -> None:
    out = tmp_path / "out"
    line = refuse(
        webpairs, *BUILD, little_web.files.warc[0], "--out", out, "--model", "tiny", *arguments
    )
    for word in words:
        assert word in line
    assert not out.exists()


@pytest.mark.parametrize("verb", ["biuld", "extrct"])
def test_a_mistyped_verb(webpairs: Command, verb: str) -> None:
    assert "Did you mean" in refuse(webpairs, verb)


def test_what_is_missing_is_named(webpairs: Command, little_web: SmallCrawl) -> None:
    assert "--out" in refuse(webpairs, *BUILD, little_web.files.warc[0])
    assert "INPUT" in refuse(webpairs, *BUILD, "--out", "out")
    assert "--out is empty" in refuse(webpairs, *BUILD, little_web.files.warc[0], "--out", "")


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


BAD_INPUTS: list[tuple[str, bytes | None, list[str]]] = [
    ("missing.warc.gz", None, ["no such file", "check the spelling"]),
    ("no-match-*.warc.gz", None, ["no file matches"]),
    ("empty.warc.gz", b"", ["is empty", "fetch it again"]),
    ("page.warc", b"<!doctype html><p>404</p>", ["HTML", "give .warc"]),
    ("image.warc.gz", b"\xff\xd8\xff\xe0" + bytes(99), ["JPEG"]),
    ("page.warc.gz", gzip.compress(b"<html></html>"), ["HTML"]),
    ("cut.warc.gz", gzip.compress(b"WARC/1.0\r\n")[:9], ["nothing in this gzip file can be read"]),
    ("words.warc", b"just words", ["does not begin with WARC/"]),
    ("words.txt", b"just words", ["no http(s) URL", "one URL a line"]),
    ("table.parquet", b"PAR1....PAR1", ["cannot be read as parquet", "fetch it again"]),
    ("table.csv", b"a,b\n1,2\n", ["--url-column"]),
    ("old.arc", b"filedesc://x 0.0.0.0 2008 text/plain 9\n", ["ARC", "convert"]),
]


@pytest.mark.parametrize(("name", "data", "words"), BAD_INPUTS, ids=[one[0] for one in BAD_INPUTS])
@pytest.mark.parametrize("verb", ["build", "extract"])
def test_a_bad_input_is_refused_before_anything_is_made(
    webpairs: Command, tmp_path: Path, verb: str, name: str, data: bytes | None, words: list[str]
) -> None:
    path = tmp_path / name
    if data is not None:
        write(path, data)
    out = tmp_path / "out"
    options = ("--model", "tiny") if verb == "build" else ()
    line = refuse(webpairs, verb, path, "--out", out, *options)
    for word in (str(path), *words):
        assert word in line
    assert not out.exists()


def test_a_folder_without_crawl_files(webpairs: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    line = refuse(webpairs, *BUILD, tmp_path / "in", "--out", tmp_path / "out", "--model", "tiny")
    assert "no crawl file or table in this folder" in line
    assert not (tmp_path / "out").exists()


def test_one_bad_input_among_good_ones_is_told_at_once(
    webpairs: Command, little_web: SmallCrawl, tmp_path: Path
) -> None:
    bad = write(tmp_path / "bad.warc", b"nothing")
    line = refuse(
        webpairs, *BUILD, *little_web.files.warc, bad, "--out", tmp_path / "out", "--model", "tiny"
    )
    assert str(bad) in line
    assert not (tmp_path / "out").exists()


def test_a_wat_holds_no_images(webpairs: Command, little_web: SmallCrawl, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = refuse(
        webpairs,
        *BUILD,
        *little_web.files.wat,
        "--out",
        out,
        "--model",
        "tiny",
    )
    assert "is a WAT" in line
    assert "--images web" in line
    assert not out.exists()


def test_a_wrongly_named_crawl_file_is_known_by_its_content(
    webpairs: Command, little_web: SmallCrawl, tmp_path: Path
) -> None:
    path = write(tmp_path / "crawl.bin", little_web.files.wat[0].read_bytes())
    code, out, err = webpairs("extract", path, "--out", tmp_path / "out", "--workers", "1")
    assert code == 0, err
    assert "found on" in out


def test_a_truncated_crawl_file_gives_what_it_holds_and_says_so(
    webpairs: Command, little_web: SmallCrawl, tmp_path: Path
) -> None:
    data = little_web.files.warc[0].read_bytes()
    path = write(tmp_path / "cut.warc.gz", data[: len(data) // 2])
    out = tmp_path / "out"
    code, said, err = webpairs(
        *BUILD, path, "--out", out, "--model", "tiny", "--threshold", "-1", "--workers", "1"
    )
    assert code == 0, err
    assert "about the input: " in said
    assert "cut.warc.gz" in said
    funnel = json.loads((out / "manifest.json").read_bytes())["funnel"]
    assert funnel["samples"] > 0
    assert funnel["candidates"] == funnel["samples"] + sum(funnel["drops"].values())


def test_a_model_without_a_threshold_of_its_own(
    webpairs: Command, little_web: SmallCrawl, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    with resources.as_file(resources.files("webpairs.clip") / "tiny") as tiny:
        shutil.copytree(tiny, model)
    config = model / "open_clip_config.json"
    known = json.loads(config.read_bytes())
    del known["webpairs"]["threshold"]
    write(config, json.dumps(known).encode())
    out = tmp_path / "out"
    line = refuse(webpairs, *BUILD, little_web.files.warc[0], "--out", out, "--model", model)
    assert str(model) in line
    assert "say --threshold X" in line
    assert not out.exists()


def test_a_model_whose_weights_are_nowhere(
    webpairs: Command, little_web: SmallCrawl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    line = refuse(
        webpairs, *BUILD, little_web.files.warc[0], "--out", out, "--model", "ViT-B-32/openai"
    )
    assert "--model tiny" in line
    assert not out.exists()


@pytest.mark.parametrize("where", [".", "inner", "inner/deeper"])
def test_output_inside_the_input(
    webpairs: Command, little_web: SmallCrawl, tmp_path: Path, where: str
) -> None:
    write(tmp_path / "a.warc.gz", little_web.files.warc[0].read_bytes())
    line = refuse(webpairs, *BUILD, tmp_path, "--out", tmp_path / where, "--model", "tiny")
    assert "lies inside the input" in line
    assert [path.name for path in tmp_path.iterdir()] == ["a.warc.gz"]


def test_output_inside_the_input_through_a_link(
    webpairs: Command, little_web: SmallCrawl, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.warc.gz", little_web.files.warc[0].read_bytes())
    (tmp_path / "link").symlink_to(tmp_path / "in")
    line = refuse(
        webpairs, *BUILD, tmp_path / "in", "--out", tmp_path / "link" / "out", "--model", "tiny"
    )
    assert "lies inside the input" in line


def test_outputs_that_cannot_be(webpairs: Command, little_web: SmallCrawl, tmp_path: Path) -> None:
    def out_refused(out: object) -> str:
        return refuse(webpairs, *BUILD, little_web.files.warc[0], "--out", out, "--model", "tiny")

    assert "is a URL" in out_refused("s3://bucket/out")
    file = write(tmp_path / "file", b"")
    assert "cannot make --out" in out_refused(file)
    assert "cannot make --out" in out_refused(file / "below")
    (tmp_path / "full").mkdir()
    write(tmp_path / "full" / "thesis.tex", b"precious")
    assert "thesis.tex" in out_refused(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_written(
    webpairs: Command, little_web: SmallCrawl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write anywhere
        monkeypatch.setattr(os, "access", lambda path, mode: path != out)
    line = refuse(webpairs, *BUILD, little_web.files.warc[0], "--out", out, "--model", "tiny")
    assert f"cannot write to --out {out}" in line
    assert list(out.iterdir()) == []


def test_status_of_what_is_no_run_folder(webpairs: Command, tmp_path: Path) -> None:
    assert "is not a folder" in refuse(webpairs, "status", tmp_path / "absent")
    assert "no manifest.json" in refuse(webpairs, "status", tmp_path)


def test_status_of_a_finished_run(webpairs: Command, loose_run: Path) -> None:
    code, out, err = webpairs("status", loose_run)
    assert (code, err) == (0, "")
    assert "shards: 6 of 6 done" in out
    assert re.search(r"samples +\d+", out)
    assert re.search(r"finished \d{4}-", out)


def test_status_of_a_run_that_was_stopped(
    webpairs: Command, loose_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "stats").mkdir(parents=True)
    for path in (loose_run / "stats").iterdir():
        if path.stem not in ("00001", "00004"):
            write(out / "stats" / path.name, path.read_bytes())
    manifest = json.loads((loose_run / "manifest.json").read_bytes())
    write(out / "manifest.json", json.dumps(manifest | {"finished": None}).encode())
    code, said, _ = webpairs("status", out)
    assert code == 0
    assert "shards: 4 of 6 done" in said
    assert "missing: 00001, 00004" in said
    assert "left to do" in said
    assert "type the line that started it again" in said


@pytest.mark.parametrize(("error", "code"), [(ConfigError("fix it"), 2), (RunError("mend it"), 1)])
def test_errors_by_remedy(
    webpairs: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, code: int
) -> None:
    def fail(path: Path) -> None:
        raise error

    monkeypatch.setattr("webpairs.run_folder.status.read_status", fail)
    assert webpairs("status", tmp_path) == (code, "", f"webpairs: {error}\n")


@pytest.mark.parametrize("as_error_of_a_library", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_told_and_nothing_can_make_an_error_of_it(
    webpairs: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    as_error_of_a_library: bool,
) -> None:
    def wait(path: Path) -> None:
        try:
            signal.raise_signal(number)
        except BaseException as stop:
            if as_error_of_a_library:
                raise RuntimeError("Query interrupted") from stop
            raise

    monkeypatch.setattr("webpairs.run_folder.status.read_status", wait)
    stopped = "webpairs: stopped; type the same line again to go on\n"
    assert webpairs("status", tmp_path) == (code, "", stopped)


def test_version_and_no_verb(webpairs: Command) -> None:
    assert webpairs("--version") == (0, f"webpairs {__version__}\n", "")
    code, out, err = webpairs()
    assert code == 2
    assert "build" in out + err


OPTIONS = {
    "build": {
        "--out": "Folder",
        "--images": "default: web",
        "--model": "ViT-B-32/openai",
        "--threshold": "-1 to 1",
        "--recipe": "default: laion400m",
        "--image-size": "pixels",
        "--resize": "border",
        "--image-format": "jpeg",
        "--image-quality": "95",
        "--min-bytes": "5000",
        "--min-side": "pixels",
        "--max-aspect": "ratio",
        "--blur-boxes": "faces",
        "--languages": "en",
        "--texts": "alt",
        "--image-sources": "src",
        "--keep-opted-out": "opt_out",
        "--url-column": "URLs",
        "--text-column": "texts",
        "--ignore-signals": "tdmrep.json",
        "--per-host": "default: 4",
        "--per-host-rate": "default: 8",
        "--connections": "default: 256",
        "--timeout": "default: 60",
        "--retries": "default: 2",
        "--allow-network": "CIDR",
        "--contact": "User-Agent",
        "--shard-size": "50000",
        "--workers": "one a core",
        "--max-memory": "default: 4GB",
        "--metrics-port": "127.0.0.1",
        "--limit": "default: all",
        "--seed": "default: 0",
        "--check-hashes": "on",
    },
    "extract": {
        "--out": "Folder",
        "--recipe": "default: laion400m",
        "--languages": "en",
        "--texts": "alt",
        "--image-sources": "src",
        "--workers": "one a core",
        "--url-column": "URLs",
        "--text-column": "texts",
        "--max-memory": "default: 4GB",
    },
    "status": {"--json": "programs"},
    "retry": {
        "--reasons": "http_5xx",
        "--per-host": "default: 4",
        "--per-host-rate": "default: 8",
        "--connections": "default: 256",
        "--timeout": "default: 60",
        "--retries": "default: 2",
        "--allow-network": "CIDR",
        "--contact": "User-Agent",
        "--workers": "one a core",
        "--max-memory": "default: 4GB",
        "--check-hashes": "hashes",
        "--metrics-port": "127.0.0.1",
    },
    "export": {
        "--out": "Folder",
        "--to": "tfds-array-record",
        "--config": "images, embeddings or both",
        "--name": "default: laion400m",
        "--where": "SQL",
        "--columns": "commas",
        "--shuffle": "random order",
        "--samples-per-shard": "100 MB",
        "--workers": "one a core",
    },
    "card": {
        "--out": "README.md",
        "--croissant": "JSON-LD",
        "--name": "the folder's name",
    },
    "show": {"--format": "default: table"},
    "info": {"--rows": "default: 5", "--json": "JSON"},
    "verify": {"--deep": "Decode", "--json": "JSON", "--workers": "one a core"},
    "report": {"--out": "default: report.html", "--images": "thumbnails"},
    "index": {
        "--what": "default: image,text",
        "--recall": "default: 0.95",
        "--out": "Folder",
        "--max-memory": "default: 4GB",
    },
    "search": {
        "--image": "picture",
        "--like": "sample",
        "--not": "away",
        "--where": "SQL",
        "--k": "1 to 10000",
        "--in": "image if indexed",
        "--unique": "best",
        "--model": "what the dataset says",
        "--index": "index in a run folder",
        "--format": "default: table",
    },
    "demo": {
        "--out": "default: webpairs-demo",
        "--images": "default: web",
        "--hostile": "behaviour",
        "--workers": "one a core",
    },
}


@pytest.mark.parametrize("verb", OPTIONS)
def test_help_names_each_option_with_its_unit_and_default(webpairs: Command, verb: str) -> None:
    code, out, _ = webpairs(verb, "--help")
    assert code == 0
    panels = out.partition("Examples:")[0]
    found = dict(re.findall(r"(--[a-z-]+) (.*?)(?=\n[^\n]*? --[a-z]|╰)", panels, re.DOTALL))
    found.pop("--help")
    assert found.keys() == OPTIONS[verb].keys()
    for option, word in OPTIONS[verb].items():
        assert word in re.sub(r"[\s│]+", " ", found[option]), option


VERBS = sorted([*OPTIONS, "serve"])


def help_of(webpairs: Command, *arguments: str) -> str:
    code, out, err = webpairs(*arguments)
    assert (code, err) == (0, "")
    return out


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_h_is_help(webpairs: Command, verb: str | None) -> None:
    name = () if verb is None else (verb,)
    assert help_of(webpairs, *name, "-h") == help_of(webpairs, *name, "--help")


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_shows_no_types_of_the_parser(webpairs: Command, verb: str | None) -> None:
    out = help_of(webpairs, *(() if verb is None else (verb,)), "--help")
    assert not re.search(r"<\w+|\{\w+\}\.|\bTEXT\b(?!\])|INTEGER|FLOAT|BOOLEAN", out)


def examples_of(out: str) -> list[list[str]]:
    """Return the words of each example at the end of a help."""
    lines = out.partition("Examples:")[2].splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_with_examples_that_can_be_typed(webpairs: Command, verb: str) -> None:
    examples = examples_of(help_of(webpairs, verb, "--help"))
    assert examples
    command = typer.main.get_command(cli.app)
    assert isinstance(command, typer.core.TyperGroup)
    for words in examples:
        assert words[:2] == ["webpairs", verb]
        arguments = words[2 : words.index(">") if ">" in words else None]
        # Parsed and converted, not run: an unknown option or a missing argument would raise.
        command.commands[verb].make_context(verb, arguments)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("build",), "webpairs build"),
        (("build", "a.warc", "--out", "x", "--image-size", "big"), "webpairs build"),
        (("search", "x", "--fromat", "json"), "webpairs search"),
        (("serve", "x", "--port", "high"), "webpairs serve"),
        (("biuld",), "webpairs"),
    ],
)
def test_a_usage_error_names_the_help_of_its_verb(
    webpairs: Command, arguments: tuple[str, ...], path: str
) -> None:
    assert refuse(webpairs, *arguments).endswith(f": see {path} --help\n")


HEAVY = (
    "faiss numpy pyarrow onnxruntime onnx duckdb PIL fsspec orjson tokenizers ftfy huggingface_hub"
)


@pytest.mark.parametrize(
    "code",
    [
        "import webpairs",
        "import webpairs; webpairs.BuildOptions",
        "import sys; sys.argv = ['webpairs', 'build', '--help']\n"
        "from webpairs.cli import run\n"
        "try: run()\nexcept SystemExit: pass",
    ],
    ids=["import", "options", "help"],
)
def test_starting_costs_no_heavy_import(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('LOADED', *sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert "webpairs" in loaded
    assert loaded & set(HEAVY.split()) == set()


def test_exit_codes_are_told(webpairs: Command) -> None:
    code, out, _ = webpairs("--help")
    assert code == 0
    assert "3 nothing was kept" in out
    page = (DOCS / "watching.md").read_text()
    for number in ("0", "1", "2", "3", str(last_resort.EXIT_CODE), "130, 143"):
        assert f"\n| {number} | " in page
    assert "`docs/watching.md` lists the exit codes" in (DOCS.parent / "README.md").read_text()


@pytest.mark.parametrize("again", [False, True])
def test_a_build_that_keeps_nothing_ends_with_a_code_of_its_own(
    webpairs: Command, tmp_path: Path, again: bool
) -> None:
    table = write(tmp_path / "a.csv", b"url,text\nhttp://10.0.0.1/1.jpg,a red car in a street\n")
    line = ("build", table, "--out", tmp_path / "out", "--model", "tiny", "--workers", "1")
    if again:
        webpairs(*line)
    code, out, err = webpairs(*line)
    assert code == 3, err
    assert "nothing was kept" in out
    assert "--allow-network" in out
    assert "next:\n  " in out
    retried, out, err = webpairs("retry", tmp_path / "out", "--reasons", "address_forbidden")
    assert retried == 3, err
    assert "address_forbidden: 0 of 1" in out
