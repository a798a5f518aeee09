"""The clock of leases is never behind the one that stands still while the machine sleeps."""

import time

from palaver.clock import elapsed


def test_it_counts_what_the_monotonic_clock_counts() -> None:
    counted = time.monotonic()
    before = elapsed()
    assert before >= counted
    time.sleep(0.01)
    assert elapsed() - before >= 0.01
