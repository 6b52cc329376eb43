"""The address that a server listens on: whether it is free, and how it is written."""

from __future__ import annotations

import socket

from safelight.config import Settings


class AddressInUse(Exception):
    """The address to listen on is another's, or none of this machine's."""


def local_url(settings: Settings) -> str:
    """The address that this server has on its own machine."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def free_port(host: str) -> int:
    """A port that is free just now."""
    with _bound(host, 0) as probe:
        port: int = probe.getsockname()[1]
        return port


def check_address(host: str, port: int) -> None:
    """Raise `AddressInUse` where another program listens there.

    The HTTP server shares its port with whoever asks for that too, and each would get a part of
    the other's requests.
    """
    try:
        _bound(host, port).close()
    except OSError as problem:
        raise AddressInUse(f"{host}:{port}: {problem.strerror}") from None


def _bound(host: str, port: int) -> socket.socket:
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    except BaseException:
        probe.close()
        raise
    return probe
