"""Where a head listens."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import resource
import socket
from collections.abc import Iterator
from typing import Final

from hpcharvest.errors import ConfigurationError
from hpcharvest.jumbo.surroundings import Surroundings

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
ANY_PORT: Final = 9
"""For a datagram that is never sent."""
OTHER_FILES: Final = 512
"""Descriptors that a head needs beside two for each node: one, and one while it comes again."""


def of_head(where: Surroundings) -> str:
    """Give the address at which the other nodes reach the first: loopback, if they are all this very host.

    Else what its name means here; but on some machines that is loopback too, and then the address from which this host
    would speak to another node. ConfigurationError: there is neither.
    """
    head, others = where.nodes[0], where.nodes[1:]
    if where.virtual or not others:
        return LOOPBACK
    for found in (*_meanings(head), *_ways_to(others[0])):
        if not ipaddress.ip_address(found).is_loopback:
            return found
    raise ConfigurationError(
        f"the name of the first node, {head}, has no address here at which other nodes could reach it, nor is there a "
        f"way to {others[0]}: give the address at which the head is to listen"
    )


def _meanings(name: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for *_, found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM):
            if "%" not in str(found[0]):  # an address that holds on one wire only
                yield str(found[0])


def _ways_to(name: str) -> Iterator[str]:
    for address in _meanings(name):
        with contextlib.suppress(OSError), socket.socket(_family(address), socket.SOCK_DGRAM) as way:
            way.connect((address, ANY_PORT))
            yield str(way.getsockname()[0])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listen(host: str, backlog: int) -> socket.socket:
    """Listen at a port that is free, and never block. ConfigurationError: not there."""
    try:
        if ipaddress.ip_address(host).is_unspecified:
            raise ConfigurationError(f"{host} says nothing to the nodes: give one address of the first node")
        listener = socket.socket(_family(host), socket.SOCK_STREAM)
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"the head cannot listen at {host!r}: {error}") from error
    try:
        listener.bind((host, 0))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"the head cannot listen at {host}: {error}") from error
    listener.setblocking(False)
    return listener


def dial(host: str, port: int) -> socket.socket:
    """Begin to connect. OSError as it comes."""
    connection = socket.socket(_family(host), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect((host, port))
    except BlockingIOError:
        pass
    except OSError:
        connection.close()
        raise
    return connection


def allow_files(nodes: int) -> None:
    """Raise the soft limit of open files to what so many nodes need. No higher: payloads inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * nodes + OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < nodes + OTHER_FILES // 4:
        log.warning("this host allows %s open files, which is too few for %s nodes", hard, nodes)
