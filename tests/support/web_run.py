"""Build from a little web served by this process: what the tests of runs from the web start.

python web_run.py CRAWL OUT SHARD_SIZE WORKERS
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from webpairs.demo.crawl_files import write_crawl_files
from webpairs.demo.little_web import LittleWeb, draw_little_web
from webpairs.demo.live import NOBODY, SERVER
from webpairs.demo.port import kept_port
from webpairs.demo.server import served
from webpairs.obtain.dns import StaticResolver
from webpairs.options import BuildOptions
from webpairs.run.run import build_dataset

SEED, NUM_PAGES = 3, 12
REACH: dict[str, Any] = {
    "allow_network": (f"{SERVER}/32", f"{NOBODY}/32"),
    "per_host_rate": 0,
    "retries": 1,
}


def draw(crawl: Path) -> tuple[LittleWeb, int]:
    """Draw the web that belongs to the folder `crawl`; return it and its port."""
    port = kept_port(crawl)
    return draw_little_web(SEED, NUM_PAGES, live=True, port=port), port


def resolver_of(web: LittleWeb) -> StaticResolver:
    """Return a resolver that knows the web's hosts."""
    return StaticResolver({host: (address,) for host, address in web.addresses.items()})


def options_of(files: list[Path], out: Path, **changes: Any) -> BuildOptions:
    """Return options of a build from the web by `tiny`, which keeps whatever it scores."""
    values = {"model": "tiny", "threshold": -1.0, **REACH, **changes}
    return BuildOptions(inputs=tuple(map(str, files)), out=str(out), images="web", **values)


def main() -> None:
    """Build, or go on with a build."""
    crawl, out, shard_size, workers = sys.argv[1:]
    web, port = draw(Path(crawl))
    files = write_crawl_files(web, Path(crawl))
    options = options_of(
        list(files.warc), Path(out), shard_size=int(shard_size), workers=int(workers)
    )
    with served(web, port):
        build_dataset(options, resolver=resolver_of(web))


if __name__ == "__main__":
    main()
