"""Make the certificates of the hostile web, good and bad, by an authority of the test's own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from webpairs.demo.hostile.behaviour import DOMAIN
from webpairs.demo.hostile.certificates import Certificates


@dataclass(frozen=True)
class TestAuthority:
    certificates: Certificates
    ca_file: Path
    """What a client must trust to like the good one."""


def make_certificates(folder: Path) -> TestAuthority:
    authority, stranger = trustme.CA(), trustme.CA()
    names = (f"*.{DOMAIN}",)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    ca_file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return TestAuthority(
        Certificates(
            good=_context(authority.issue_cert(*names)),
            expired=_context(authority.issue_cert(*names, not_after=yesterday)),
            self_signed=_context(stranger.issue_cert(*names)),
            wrong_host=_context(authority.issue_cert("elsewhere.example")),
        ),
        ca_file,
    )


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
