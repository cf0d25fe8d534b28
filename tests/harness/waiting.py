"""How tests wait for what a server does in its own time: until it is so, and never longer than a bounded time."""

import time

PATIENCE_S = 90  # far more than anything takes, on a machine that is busy with other things too
PAUSE_S = 0.05


def becomes(condition, timeout_s=PATIENCE_S, pause_s=PAUSE_S):
    """What condition() gives as soon as that counts as true; what it gives at last if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        is_over = time.monotonic() > deadline
        found = condition()
        if found or is_over:
            return found
        time.sleep(pause_s)


def wait_until(condition, what="it does not become so", timeout_s=PATIENCE_S, pause_s=PAUSE_S):
    """As becomes(), but an AssertionError if it does not: its text is what, or what that gives when it is called then."""
    found = becomes(condition, timeout_s, pause_s)
    if not found:
        raise AssertionError(f"after {timeout_s} s: {what() if callable(what) else what}")
    return found
