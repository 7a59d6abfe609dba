"""Which tests get to a line: the others cannot notice what is changed there.

pytest on the unchanged package -> [watch] -> tests by line, the quickest first
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import coverage
import pytest

if TYPE_CHECKING:
    from typing import Self


class About(Protocol):
    """What stands in some lines of a module."""

    file: str
    lines: range
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """What was seen of some test files.

    Attributes:
        seconds: Of every test, by its name.
        tests: By module and line, who got there; "" is whoever imported it first.
        elsewhere: Those that begin other processes, and may get anywhere in them.
    """

    seconds: dict[str, float]
    tests: dict[str, dict[str, list[str]]]
    elsewhere: list[str]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return what `Watch` has written."""
        return cls(**json.loads(file.read_text("utf-8")))

    def by(self, about: About) -> tuple[str, ...]:
        """The tests that may get to some lines, the quickest first; all test files where an import does, or nobody."""
        module = self.tests.get(about.file, {})
        who = {test for line in about.lines for test in module.get(str(line), ())}
        if "" in who or not who:
            return about.tests
        return tuple(sorted(who | {*self.elsewhere}, key=lambda test: self.seconds.get(test, 0.0)))


class Watch:
    """A plugin of pytest that notes which test runs which lines of the package.

    Args:
        file: Where `Seen` reads it.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._seconds, self._now = file, {}, ""
        self._elsewhere = set()
        os.register_at_fork(before=self._leaves)
        sys.addaudithook(lambda event, _: self._leaves() if event == "subprocess.Popen" else None)
        self._coverage = coverage.Coverage(data_file=None, include=["mblab/*"], config_file=False)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Note the test by its name; a test that traces by itself has ended the watch."""
        if sys.gettrace() is None:
            self._coverage.stop()
            self._coverage.start()
        self._now = item.nodeid
        self._coverage.switch_context(item.nodeid)
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self._seconds[item.nodeid] = time.monotonic() - began

    def _leaves(self) -> None:
        self._elsewhere.add(self._now)

    def pytest_sessionfinish(self) -> None:
        """Write what was seen."""
        self._coverage.stop()
        data, tests = self._coverage.get_data(), defaultdict(dict)
        for file in data.measured_files():
            place = Path(file).relative_to(Path.cwd()).as_posix()
            tests[place] = {str(line): who for line, who in data.contexts_by_lineno(file).items()}
        self._file.write_text(
            json.dumps({"seconds": self._seconds, "tests": tests, "elsewhere": sorted(self._elsewhere)}), "utf-8"
        )
