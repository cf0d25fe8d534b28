"""Runs every test_*.py of this folder and ends with `N passed, N failed, N skipped`."""

import sys
import unittest

from tests.harness import counting


def main():
    """Discovers and runs; arguments choose test names (part of a name)."""
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in sys.argv[1:]] or None
    suite = loader.discover("tests/integration", top_level_dir=".")
    return counting.run(suite)


if __name__ == "__main__":
    sys.exit(main())
