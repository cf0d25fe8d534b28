"""unittest with the closing line that the suites share."""

import time
import unittest


class _Result(unittest.TextTestResult):
    def startTest(self, test):
        self._began = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.stream.writeln(f"  {time.monotonic() - self._began:.1f} s")


def run(suite):
    """Runs a unittest suite; prints the closing line; gives the exit status."""
    result = unittest.TextTestRunner(verbosity=2, resultclass=_Result).run(suite)
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not result.testsRun else 0
