"""Keep every test off the network: only loopback and Unix sockets may be connected."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"


def _is_here(address: Any) -> bool:
    if not isinstance(address, tuple):  # AF_UNIX
        return True
    host = address[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections and name look-ups that would leave this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    look_up = socket.getaddrinfo

    def check(address: Any) -> None:
        if not _is_here(address):
            raise AssertionError(f"a test tried to reach {address}: tests stay on this machine")

    def checked_connect(self: socket.socket, address: Any) -> None:
        check(address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        check(address)
        return connect_ex(self, address)

    def checked_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host is not None:
            check((host.decode() if isinstance(host, bytes) else host,))
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", checked_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", checked_look_up)
