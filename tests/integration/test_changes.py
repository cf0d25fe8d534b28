"""Changes of the same documents beside queries: every answer is that of a moment (contract C2)."""

import unittest

from tests.fault import changes
from tests.integration import common

SECONDS = 8
WRITERS = 8
SLOTS = 10


class Changes(common.ServerCase):
    """A short run of the history checker."""

    def test_every_answer_is_that_of_a_moment(self):
        run = changes.Changes(self.server, SECONDS, seed=1, writers=WRITERS, slots=SLOTS)
        self.assertEqual(run.run(), [])
        self.assertGreater(run.counts()["Update"], 0)
        fsck = self.server.command("fsck", check=False)
        self.assertEqual((fsck.returncode, fsck.stdout), (0, "0 findings\n"), fsck.stderr)


class Checker(unittest.TestCase):
    """What the checker must notice and what it must not."""

    start = changes.State(changes.Entry(1, True, "F"), frozenset({("1", changes.Entry(1, True, "a"))}), frozenset({"1"}), frozenset())

    def update(self, began, ended, codes=changes.DONE, title="b"):
        """An update of version 1."""
        return changes.Update(began, ended, codes, unique_id="1", previous=1, title=title)

    def read(self, began, ended, *entry):
        """An answer."""
        return changes.ReadDocuments(began, ended, changes.DONE, unique_ids=("1",), seen={"1": changes.Entry(*entry)})

    def test_histories_that_have_an_order_are_explained(self):
        old, new = (1, True, "a"), (2, True, "b")
        for history in (
            [self.update(1, 4), self.read(2, 3, *old), self.read(2, 3, *new)],
            [self.update(1, 4), self.read(5, 6, *new)],
            [self.update(1, 4), self.update(2, 3, changes.VERSION_ERROR, "c"), self.read(5, 6, *new)],
            [self.update(1, 0, None), self.read(2, 3, *old), self.read(5, 6, *new)],
            [self.update(1, 0, None), self.read(5, 6, *old)],
        ):
            self.assertIsNone(changes.explain(self.start, history))

    def test_histories_without_an_order_are_not(self):
        old, new = (1, True, "a"), (2, True, "b")
        for history in (
            [self.update(1, 2), self.read(3, 4, *old)],  # lost
            [self.read(1, 2, *new), self.update(3, 4)],  # before its time
            [self.update(1, 6), self.read(2, 3, *new), self.read(4, 5, *old)],  # back again
            [self.update(1, 4), self.update(2, 3, title="c")],  # two winners
            [self.update(1, 2, changes.UPDATE_ERROR)],  # the wrong code
            [self.update(1, 4), self.read(2, 3, 2, True, "a")],  # half of it
            [self.update(1, 0, None), self.read(2, 3, *new), self.read(4, 5, *old)],  # known to be done, then gone
        ):
            self.assertIsNotNone(changes.explain(self.start, history))


if __name__ == "__main__":
    unittest.main()
