"""One report a session."""

import pytest

from .harness import Report


@pytest.fixture(scope="session")
def report():
    """Takes every figure; prints them as they come and writes them when the session ends."""
    made = Report()
    yield made
    made.write()
