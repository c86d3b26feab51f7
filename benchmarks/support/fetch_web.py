"""Serve a corpus of `fetch_corpus.py` by nginx, on loopback alone.

Below its root: `slow/` gives 60 kB a second, `trickle/` 2; what is in `noai/` opts out, what is in
`noaibot/` opts out of another robot; `r/` redirects to `i/`. Beside nginx, the hanging port takes
connections and never answers.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

CONFIGURATION = """
{user}
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 1000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{ image/jpeg jpg; image/png png; image/webp webp; image/gif gif; }}
    server {{
        {listen}
        root {root};
        location /slow/ {{ limit_rate 60k; }}
        location /trickle/ {{ limit_rate 2k; }}
        location /noai/ {{ add_header X-Robots-Tag noai; }}
        location /noaibot/ {{ add_header X-Robots-Tag "otherbot: noai"; }}
        location /r/ {{ rewrite ^/r/(.*)$ /i/$1 redirect; }}
    }}
}}
"""


@contextmanager
def serve(www: Path, urls: Iterable[str], hanging: Iterable[str] = ()) -> Generator[None]:
    """Serve `www` at every host and port that `urls` name, until the block is left.

    Ports below 1024 stay closed. Ends the program with a line of text where that cannot be done.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        sys.exit("nginx is not there: install it (Debian: apt install nginx-light)")
    places = {place for place in map(place_of, urls) if place[1] >= 1024}
    for host, port in places:
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            sys.exit(f"{host}:{port} cannot be served: {error.strerror} (draw with another --port)")
    with ExitStack() as stack:
        for place in {place_of(url) for url in hanging}:
            # Connections wait in the backlog for an answer that nobody gives.
            stack.enter_context(socket.create_server(place, backlog=1024))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(
                # A worker of root's would become another user, and could not read our folders.
                user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
                folder=folder,
                listen=" ".join(f"listen {host}:{port};" for host, port in sorted(places)),
                root=www.resolve(),
            )
        )
        log = Path(folder) / "error.log"
        line = [nginx, "-e", str(log), "-p", folder, "-c", str(configuration)]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(process, min(places), log)
            yield
        finally:
            process.terminate()
            process.wait(10)


def place_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL; only loopback is served, and only loopback is fetched."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not re.fullmatch(r"127\.\d+\.\d+\.\d+", host):
        sys.exit(f"{url}: the benchmark only fetches from 127.0.0.0/8")
    return host, parts.port or 80


def wait_for(process: subprocess.Popen[bytes], place: tuple[str, int], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(place, 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    process.kill()
    process.wait()
    sys.exit(f"nginx does not start: {log.read_text() if log.exists() else 'it says nothing'}")
