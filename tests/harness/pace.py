"""How busy this machine is with other things: a time to which a test holds a server counts as what it would be without them."""

import os
import tempfile
import time

WORK_S = 0.1  # of a processor
SYNC_S = 0.05  # for a small file, on a disk that has nothing else to do


def slowdown():
    """How many times longer this process takes for its work now than the work itself takes; 1 on a machine that has nothing else to
    do."""
    began, worked = time.monotonic(), time.thread_time()
    while time.thread_time() - worked < WORK_S:
        pass
    of_processor = (time.monotonic() - began) / (time.thread_time() - worked)
    began = time.monotonic()
    with tempfile.TemporaryFile() as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
    return max(1.0, of_processor, (time.monotonic() - began) / SYNC_S)


def timed(step, *arguments):
    """(seconds that a step took, how much slower the machine was before it or after it)"""
    before = slowdown()
    began = time.monotonic()
    step(*arguments)
    seconds = time.monotonic() - began
    return seconds, max(before, slowdown())
