"""Runs every test_*.py of this folder and ends with `N passed, N failed, N skipped`."""

import sys
import unittest

from tests.harness import counting


def without(suite, names):
    """The tests of a suite whose names hold none of these."""
    left = unittest.TestSuite()
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            left.addTest(without(item, names))
        elif not any(name in item.id() for name in names):
            left.addTest(item)
    return left


def main():
    """Discovers and runs; arguments choose tests by parts of their names, or with a dash before it leave some out."""
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in sys.argv[1:] if not name.startswith("-")] or None
    suite = loader.discover("tests/integration", top_level_dir=".")
    return counting.run(without(suite, [name[1:] for name in sys.argv[1:] if name.startswith("-")]))


if __name__ == "__main__":
    sys.exit(main())
