"""How much memory a server holds, and how much more while something runs.

Counted is RssAnon + RssShmem: what a process holds beside the page cache."""

import pathlib
import re
import threading
import time

SAMPLE_S = 0.02


def _kibibytes(pid, names):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return 1024 * sum(int(number) for number in re.findall(rf"^(?:{names}):\s+(\d+) kB", text, re.M))


def process_bytes(pid):
    """What one process holds."""
    return _kibibytes(pid, "RssAnon|RssShmem")


def _children(pid):
    """The processes that a process made, but PostgreSQL's."""
    found = []
    for tasks in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, tasks.read_text(encoding="ascii").split())
    return [one for one in found if not pathlib.Path(f"/proc/{one}/comm").read_text(encoding="utf-8").startswith("postgres")]


def server_bytes(pid):
    """What all processes of a server hold, but PostgreSQL's; what they share counts for each of them."""
    total, left = process_bytes(pid), [pid]
    while left:
        try:
            one = left.pop()
            for child in _children(one):
                total += process_bytes(child)
                left.append(child)
        except OSError:
            pass  # ended meanwhile
    return total


class Watch(threading.Thread):
    """Looks at the memory of a server while something runs: samples of all processes, and the first one's own high-water mark."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.before_bytes = self._peak_bytes = server_bytes(pid)
        self._resident_bytes, self._highest_bytes = _kibibytes(pid, "VmRSS"), _kibibytes(pid, "VmHWM")
        self._marked_bytes = 0  # growth by the high-water mark
        self._began = time.monotonic()
        self.seconds = 0.0
        self._done = threading.Event()

    def run(self):
        while not self._done.wait(SAMPLE_S):
            self._peak_bytes = max(self._peak_bytes, server_bytes(self.pid))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self._done.set()
        self.join()
        self.seconds = time.monotonic() - self._began
        highest = _kibibytes(self.pid, "VmHWM")
        if highest > self._highest_bytes:
            self._marked_bytes = highest - self._resident_bytes

    @property
    def growth_bytes(self):
        """Most that it had beyond what it had at first."""
        return max(self._peak_bytes - self.before_bytes, self._marked_bytes)
