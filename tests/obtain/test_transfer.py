"""What libcurl reports ends as a drop reason, whatever its version calls it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pycurl
import pytest

from webpairs.drops import Drop
from webpairs.obtain import transfer

MESSAGES = [
    (pycurl.E_COULDNT_RESOLVE_HOST, "Could not resolve host: a.example", Drop.DNS),
    (pycurl.E_COULDNT_CONNECT, "Failed to connect to a.example port 80", Drop.CONNECT),
    (pycurl.E_SSL_CONNECT_ERROR, "TLS connect error", Drop.TLS),
    (pycurl.E_PEER_FAILED_VERIFICATION, "certificate has expired", Drop.TLS),
    (pycurl.E_GOT_NOTHING, "Empty reply from server", Drop.PROTOCOL),
    (pycurl.E_RECV_ERROR, "Recv failure: Connection reset by peer", Drop.PROTOCOL),
    (pycurl.E_PARTIAL_FILE, "transfer closed with 10 bytes remaining", Drop.PROTOCOL),
    (pycurl.E_HTTP2, "Error in the HTTP2 framing layer", Drop.PROTOCOL),
    (9_999, "", Drop.PROTOCOL),
]


def request(*, head: bytes = b"", num_bytes: int = 0) -> SimpleNamespace:
    """Return what is known of a request when it fails."""
    return SimpleNamespace(head=head, num_bytes=num_bytes)


def failure(number: int, message: str, connected: bool = True, **known: Any) -> tuple[Drop, str]:
    error = transfer._failure(number, message, cast(Any, request(**known)), connected=connected)
    return error.drop, error.detail


@pytest.mark.parametrize(("number", "message", "drop"), MESSAGES)
def test_every_error_has_a_reason(number: int, message: str, drop: Drop) -> None:
    assert failure(number, message)[0] == drop
    assert failure(number, message)[1], "and a detail"


@pytest.mark.parametrize(
    ("known", "connected", "drop"),
    [
        ({}, False, Drop.CONNECT),
        ({}, True, Drop.TIMEOUT),
        ({"head": b"HTTP/1.1 200 OK\r\n"}, True, Drop.TOO_SLOW),
        ({"num_bytes": 1}, True, Drop.TOO_SLOW),
    ],
)
def test_how_far_a_request_came_says_what_a_timeout_is(
    known: dict[str, Any], connected: bool, drop: Drop
) -> None:
    message = "Operation timed out after 10002 milliseconds with 0 bytes received"
    assert failure(pycurl.E_OPERATION_TIMEDOUT, message, connected, **known) == (
        drop,
        "Operation timed out",
    )


def test_times_stay_out_of_details() -> None:
    """They differ from run to run, and the drops of two runs must not."""
    message = "Failed to connect to a.example port 80 after 21 ms: Could not connect to server"
    later = message.replace("21", "3045")
    assert failure(pycurl.E_COULDNT_CONNECT, message) == failure(pycurl.E_COULDNT_CONNECT, later)
    assert "ms" not in failure(pycurl.E_COULDNT_CONNECT, message)[1]


def test_every_number_of_libcurl_has_a_reason() -> None:
    numbers = {value for name, value in vars(pycurl).items() if name.startswith("E_")}
    reasons = {failure(number, "x")[0] for number in numbers}
    assert reasons == {Drop.DNS, Drop.CONNECT, Drop.TLS, Drop.TIMEOUT, Drop.PROTOCOL}
