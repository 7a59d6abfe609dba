"""Runs tests on a changed copy of the package, quickly: pandas and pytest are imported once, and every try is a fork.

changes -> [workshop]: copy, change, fork, pytest -x -> verdicts
"""

from __future__ import annotations

import compileall
import hashlib
import importlib
import os
import py_compile
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .watch import Seen, Watch

COPIED = ("mblab", "tests", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "uv.lock")
MOST_BYTES = 4 << 30
EXAMPLES = 40  # of each law
NOT_ASKED = (4, 5)  # pytest's exit codes for tests that are not there
LINKED = ("datasets", "notebooks")
FIRST_LIMIT_S, LEAST_LIMIT_S, SLOWER = (
    3600.0,
    60.0,
    5.0,
)  # a try may take so many times what the unchanged package takes
STILL_S = 120.0  # longer than any test takes on a busy machine: a try that says nothing for so long hangs


@dataclass(frozen=True)
class Job:
    """Something to try.

    Attributes:
        name: What it is known by.
        file: The module that is another, relative to the root; empty for none.
        lines: Of the module as it was, what its change is about.
        text: What stands in it instead.
        tests: Test files, the quickest first; once the unchanged package was watched, those tests that get there.
    """

    name: str
    file: str
    lines: range
    text: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What became of it: killed, hangs (killed too) or survived; by which test, and after how long."""

    job: Job
    outcome: str
    by: str
    seconds: float


@dataclass
class _Try:
    job: Job
    bench: Path
    usual: str  # what stood in the module
    pid: int
    log: Path
    since: float


class Workshop:
    """Copies of a project, one a worker, and the forks that try things in them."""

    def __init__(self, root: Path, workers: int = 2) -> None:
        self.root = root
        self.folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        self._limits: dict[tuple[str, ...], float] = {}
        self._seen: dict[tuple[str, ...], Seen] = {}
        self._free = [self._bench(i) for i in range(workers)]
        warm()

    def _bench(self, number: int) -> Path:
        bench = self.folder / str(number)
        bench.mkdir()
        ignore = shutil.ignore_patterns("__pycache__", "results", "browser", ".*")
        for name in COPIED:
            source = self.root / name
            if source.is_dir():
                shutil.copytree(source, bench / name, ignore=ignore)
            elif source.exists():
                shutil.copy(source, bench / name)
        for name in LINKED:
            (bench / name).symlink_to(self.root / name)
        # never looked at again by time and size: two changes of a second may have the same
        compileall.compile_dir(
            bench / "mblab", quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
        return bench

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def verdicts(self, jobs: Iterable[Job]) -> Iterator[Verdict]:
        """Try one thing after the other, some at once, and yield what became of them as it is known.

        Raises:
            RuntimeError: The unchanged package does not pass the tests.
        """
        jobs = list(jobs)
        usual = [
            Job("unchanged", "", range(0), "", tests) for tests in {job.tests for job in jobs} - self._limits.keys()
        ]
        for verdict in self._results(usual):
            tests = verdict.job.tests
            if verdict.outcome != "survived":
                raise RuntimeError(f"the unchanged package does not pass {' '.join(tests)}: {verdict.by}")
            self._limits[tests] = max(LEAST_LIMIT_S, SLOWER * verdict.seconds)
            self._seen[tests] = Seen.read(self.folder / f"{_key(tests)}.json")
        yield from self._results([replace(job, tests=self._seen[job.tests].by(job)) for job in jobs])

    def _results(self, jobs: list[Job]) -> Iterator[Verdict]:
        running: list[_Try] = []
        waiting = list(reversed(jobs))
        try:
            while waiting or running:
                while waiting and self._free:
                    running.append(self._begin(waiting.pop()))
                time.sleep(0.01)
                for each in list(running):
                    verdict = self._look(
                        each, max(self._limits.values(), default=FIRST_LIMIT_S) if each.job.file else FIRST_LIMIT_S
                    )
                    if verdict is not None:
                        running.remove(each)
                        yield verdict
        finally:
            for each in running:
                self._end(each)

    def _begin(self, job: Job) -> _Try:
        bench, usual = self._free.pop(), ""
        if job.file:
            usual = (bench / job.file).read_text("utf-8")
            _put(bench, job.file, job.text)
        log = self.folder / f"{bench.name}.log"
        log.write_bytes(b"")
        since, pid = time.monotonic(), os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            code = 70
            try:
                code = _in_the_fork(
                    bench, log, job.tests, None if job.file else self.folder / f"{_key(job.tests)}.json"
                )
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        return _Try(job, bench, usual, pid, log, since)

    def _look(self, each: _Try, limit_s: float) -> Verdict | None:
        pid, status = os.waitpid(each.pid, os.WNOHANG)
        took = time.monotonic() - each.since
        still = time.time() - each.log.stat().st_mtime
        if pid == 0 and took < limit_s and still < STILL_S:
            return None
        if pid == 0:
            self._end(each)
            return Verdict(each.job, "hangs", f"no test ended for {still:.0f} s of {took:.0f}", took)
        _kill_group(each.pid)  # what its tests may have left behind
        code = os.waitstatus_to_exitcode(status)
        self._tidy(each)
        by = _failed_in(each.log.read_text(errors="replace"))
        if code in NOT_ASKED:
            raise RuntimeError(f"{each.job.name}: pytest did not run its tests: {by}")
        return Verdict(each.job, "survived" if code == 0 else "killed", by if code else "", took)

    def _end(self, each: _Try) -> None:
        _kill_group(each.pid)
        os.waitpid(each.pid, 0)
        self._tidy(each)

    def _tidy(self, each: _Try) -> None:
        if each.job.file:
            _put(each.bench, each.job.file, each.usual)
        self._free.append(each.bench)


WARM = (
    "hypothesis.stateful",
    "jupyter_client.manager",
    "pandas",
    "psutil",
    "pyarrow.parquet",
    "pytest",
    "tenacity",
    "tqdm",
)


def warm() -> None:
    """Import what every try needs, but nothing of the package itself."""
    for name in WARM:
        importlib.import_module(name)


def _key(tests: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(tests).encode()).hexdigest()[:12]


def _put(bench: Path, file: str, text: str) -> None:
    (bench / file).write_text(text, "utf-8")
    py_compile.compile(str(bench / file), quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def _in_the_fork(bench: Path, log: Path, tests: tuple[str, ...], seen: Path | None) -> int:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))  # a loop without end may take all there is
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(bench)
    sys.path.insert(0, str(bench))
    os.environ.update(PYTHONPATH=str(bench), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    for name in [m for m in sys.modules if m.partition(".")[0] in ("mblab", "tests")]:
        del sys.modules[name]
    _with_fewer_examples()
    import pytest

    options = [
        "-x",
        "-q",
        "--no-header",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--hypothesis-seed=0",
    ]
    options += ["-o", "filterwarnings=error\nignore::pytest.PytestAssertRewriteWarning"]  # warm is imported before
    return int(
        pytest.main(
            [*options, "-c", "pyproject.toml", "--rootdir", str(bench), *tests], [] if seen is None else [Watch(seen)]
        )
    )


def _with_fewer_examples() -> None:
    """Let laws draw at most `EXAMPLES`: nearly every mistake that more of them find is found by so many."""
    from hypothesis import settings

    usual = settings.__init__

    def capped(self: object, *args: object, **named: object) -> None:
        if isinstance(named.get("max_examples"), int):
            named["max_examples"] = min(named["max_examples"], EXAMPLES)
        usual(self, *args, **named)

    settings.__init__ = capped


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _failed_in(log: str) -> str:
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", log, re.MULTILINE)
    if found:
        return found[1].removeprefix("tests/")
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1][:120] if lines else "no output"
