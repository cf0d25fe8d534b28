"""Ports of 127.0.0.1 for servers under test. Each belongs to one process of tests until that process ends, however many run at once,
and lies outside the range from which the kernel takes the ports of clients: nobody gets it between two starts of a server."""

import fcntl
import os
import pathlib
import random
import socket
import tempfile

LOWEST = 10_000
HIGHEST = 65_535
ENOUGH = 2_000  # of them make a range

_taken = set()
_locks = []  # the file with one byte for each port, once it is open


def _candidates():
    """All ports that no client gets by itself, where that leaves enough of them."""
    text = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    first, last = map(int, text.split())
    for candidates in (range(LOWEST, first), range(last + 1, HIGHEST + 1)):
        if len(candidates) >= ENOUGH:
            return candidates
    return range(LOWEST, HIGHEST + 1)


def _lock(port):
    """Whether no other process of tests has the port; from now on this one has, until it ends."""
    if not _locks:
        path = pathlib.Path(tempfile.gettempdir(), f"musubi-test-ports-{os.getuid()}")
        _locks.append(open(path, "ab"))  # pylint: disable=consider-using-with
    try:
        fcntl.lockf(_locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port):
    """Whether nobody listens on it, on any address, by TCP or UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has ended is no hindrance
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True


def free_ports(count):
    """Ports that are this process's own, so many of them, none of which it had before."""
    candidates = _candidates()
    start = random.SystemRandom().randrange(len(candidates))
    found = []
    for step in range(len(candidates)):
        port = candidates[(start + step) % len(candidates)]
        if port not in _taken and _lock(port):
            _taken.add(port)
            if _is_free(port):
                found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"there are no {count} free ports")
