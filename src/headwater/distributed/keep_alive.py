"""Connections between ranks, which break when a rank's host vanishes.

Where a process ends, its host closes its connections, and whoever waits for it learns so at once.
A host that loses power or its network closes nothing: nobody would know before the group's timeout,
which is half an hour by default. The kernel can ask silent hosts whether they are there.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# A host is asked after so long a silence, and again and again until this is over.
_SILENT_SECONDS = 10
_ASK_EVERY = 5
_GONE_AFTER = 30

# What a platform lacks is left as it is; macOS has another name for the first.
_OPTIONS = (
    ("TCP_KEEPIDLE", _SILENT_SECONDS),
    ("TCP_KEEPALIVE", _SILENT_SECONDS),
    ("TCP_KEEPINTVL", _ASK_EVERY),
    ("TCP_KEEPCNT", (_GONE_AFTER - _SILENT_SECONDS) // _ASK_EVERY),
    # For what was sent and not confirmed, in milliseconds.
    ("TCP_USER_TIMEOUT", _GONE_AFTER * 1000),
)
End: TypeAlias = tuple[str, int]
"""Of a connection: address and port."""

_ADDRESS = re.compile(r"\[([0-9a-fA-F.:]+)\]:\d+")


def own_ends() -> frozenset[End]:
    """The near ends of this process's connections."""
    return frozenset(_end(connection.laddr) for connection in _connections())


def keep_alive(ends: Collection[End]) -> None:
    """Has connections break half a minute after the host at their far end is gone.

    Those to anything else than these ends are the user's own, and are left as they are.

    Args:
        ends: the far ends, as `own_ends` has them in the processes there.
    """
    for connection in _connections():
        if _end(connection.raddr) in ends:
            # It may be closed, and its number another file's, by now.
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fd)) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for name, value in _OPTIONS:
                    if hasattr(socket, name):
                        same.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def addresses_in(text: str) -> frozenset[str]:
    """The addresses that an error of a connection speaks of."""
    found = set()
    for candidate in _ADDRESS.findall(text):
        # Other numbers stand in brackets, too.
        with suppress(ValueError):
            found.add(_plain(candidate))
    return frozenset(found)


def _connections() -> Iterator[Any]:
    """This process's connections by TCP; none where the system doesn't tell."""
    me = psutil.Process()
    # Before version 6 of psutil it had the shorter name.
    list_of = getattr(me, "net_connections", None) or me.connections
    try:
        found = list_of(kind="tcp")
    except psutil.Error:
        found = []
    return (one for one in found if one.raddr and one.status == psutil.CONN_ESTABLISHED)


def _end(place: Any) -> End:
    return _plain(place.ip), place.port


def _plain(address: str) -> str:
    """An address by the one name that both ends know it by."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)
