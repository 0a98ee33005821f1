"""The address that the service listens on: taken before anything is made, told once it is listened on."""

from __future__ import annotations

import errno
import socket

from versioning.errors import StorageUnavailable

__all__ = ["address_of", "bound_socket", "listen", "listening_socket"]

_HINTS = {
    errno.EADDRINUSE: "Choose another --port, or --port 0.",
    errno.EADDRNOTAVAIL: "Name an address of this machine with --host: 127.0.0.1, or 0.0.0.0 for all that it has.",
    errno.EACCES: "Choose a --port from 1024 on, or give the process the right to lower ones.",
    errno.EAFNOSUPPORT: "This machine has no addresses of this kind: name another --host.",
}
_OTHER_HINT = "Choose another --host or --port."


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that has its address and does not listen yet, made as asyncio makes its own; port 0 takes a free one.

    The protocol is named: asyncio turns Nagle's algorithm off only where it is. With it on, each answer waits for the
    client's delayed acknowledgement: two workers gave 148 items a second, and 526 without.

    Raises
    ------
    StorageUnavailable
        If the address cannot be had: taken, not this machine's, or not this user's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _unavailable(host, port, error) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Otherwise clients by IPv4 would all come from one network of IPv6, and share its rate.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise _unavailable(host, port, error) from error
    return made


def listen(bound: socket.socket, backlog: int) -> None:
    """Take connections from now on, also for processes that are made later.

    Raises
    ------
    StorageUnavailable
        If another has begun to listen on the same address meanwhile.
    """
    host, port = bound.getsockname()[:2]
    try:
        bound.listen(backlog)
    except OSError as error:
        raise _unavailable(host, port, error) from error
    bound.set_inheritable(True)


def listening_socket(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens already.

    Raises
    ------
    StorageUnavailable
        If its address cannot be had.
    """
    made = bound_socket(host, port)
    try:
        listen(made, backlog)
    except StorageUnavailable:
        made.close()
        raise
    return made


def address_of(host: str, bound: socket.socket) -> str:
    """The address as clients on this machine write it, without a slash at its end."""
    return f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"


def _unavailable(host: str, port: int, error: OSError) -> StorageUnavailable:
    # A name that nobody knows has a number of its own kind, which may be that of another error.
    unknown = isinstance(error, socket.gaierror)
    hint = _OTHER_HINT if unknown or error.errno is None else _HINTS.get(error.errno, _OTHER_HINT)
    return StorageUnavailable(f"{host}:{port} cannot be listened on: {error.strerror}.", hint=hint)
