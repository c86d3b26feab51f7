"""Run the demo: a little web, its crawl files, a dataset built from them, and how good that is."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from webpairs.demo.score import Score
from webpairs.errors import ConfigError

if TYPE_CHECKING:
    from webpairs.progress import RunProgress
    from webpairs.run.run import BuildResult

SEED: Final = 0
NUM_PAGES: Final = 60
"""About 1,050 candidates, of which a perfect build keeps about 350."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo built, how well, and what its user may type next."""

    build: BuildResult
    score: Score
    threshold: float
    """The similarity from which on samples were kept: the model's own."""
    next_lines: tuple[str, ...]


def run_demo(
    out: Path,
    *,
    workers: int | None = None,
    progress: RunProgress | None = None,
    images: str = "web",
) -> DemoResult:
    """Draw the little web into `out/crawl` and build `out/dataset` from it with `tiny`.

    With `images` "web" its pictures are fetched from a server on this machine, with "archive"
    they are in the crawl files. Typed again, it goes on where it was stopped: the same files are
    drawn, and served on the same port. Raises as `build_dataset` does, and ConfigError when the
    port is taken.
    """
    from webpairs.checks import check_one
    from webpairs.demo.crawl_files import write_crawl_files
    from webpairs.demo.little_web import draw_little_web
    from webpairs.demo.live import NOBODY, SERVER
    from webpairs.demo.port import kept_port
    from webpairs.demo.score import score
    from webpairs.demo.server import served
    from webpairs.obtain.dns import StaticResolver
    from webpairs.options import IMAGES, BuildOptions
    from webpairs.run.run import build_dataset
    from webpairs.run_folder.manifest import read_manifest

    check_one("--images", images, IMAGES)
    crawl, dataset = out / "crawl", out / "dataset"
    live = images == "web"
    if progress is not None:
        progress.say(f"drawing a little web of {NUM_PAGES} pages into {crawl}")
    try:
        port = kept_port(crawl) if live else 0
        web = draw_little_web(SEED, NUM_PAGES, live=live, port=port)
        files = write_crawl_files(web, crawl)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: {error.strerror} ({error.filename}): name a folder that can be written"
        ) from error
    options = BuildOptions(
        inputs=tuple(map(str, files.warc)),
        out=str(dataset),
        images=images,
        model="tiny",
        allow_network=(f"{SERVER}/32", f"{NOBODY}/32") if live else (),
        per_host_rate=0,
        workers=workers,
    )
    with served(web, port) if live else nullcontext():
        names = StaticResolver({host: (address,) for host, address in web.addresses.items()})
        build = build_dataset(options, progress, resolver=names)
    manifest = read_manifest(dataset)
    assert manifest is not None
    return DemoResult(
        build=build,
        score=score(dataset, web.truth),
        threshold=manifest["options"]["threshold"],
        next_lines=_next_lines(out, dataset),
    )


def _next_lines(out: Path, dataset: Path) -> tuple[str, ...]:
    """Return commands that lead on from the demo."""
    from webpairs.run.next_steps import command as typed

    command = typed()
    folder, page = shlex.quote(str(dataset)), shlex.quote(str(out / "report.html"))
    wat, links = (shlex.quote(str(one)) for one in (out / "crawl" / "wat", out / "links"))
    return (
        f"{command} report {folder} --out {page} --images",
        f"{command} index {folder} && {command} serve {folder}",
        f"{command} extract {wat} --out {links}",
        f"{command} build YOUR.warc.gz --images archive --out DIR",
    )
