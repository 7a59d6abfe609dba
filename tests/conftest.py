"""What several test files share: how a run of the whole suite is spread, and a notebook in a real Jupyter kernel.

Alone, a file or a test runs in this process. The whole suite takes a worker for each processor and one more: a file's
tests stay together, and so do those that share JupyterLab and the browser, the longest first.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pytest
from hypothesis import is_hypothesis_test, settings
from jupyter_client.manager import KernelManager

from .laws import examples  # noqa: F401  registers the profiles

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # under nohup and in background jobs; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Some hundred processes import the same packages: compiled once, not by each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.load_profile("quick")

# -- how the whole suite is spread --------------------------------------------------------------------------------

MOST_WORKERS = 8
LONG = ("browser", "test_cli", "test_dashboard", "test_kernel", "test_notebooks", "test_checks", "test_doctor")


def group_of(nodeid: str) -> str:
    """Return what a test is run together with: its folder's browser, or its own file."""
    file = PurePosixPath(nodeid.partition("::")[0])
    return "browser" if file.parent.name == "browser" else str(file)


def shared_cache() -> dict[str, str]:
    """Return the environment of a process that shares the cache, in which what charts are drawn with is made once."""
    return {"XDG_CACHE_HOME": os.environ["MBLAB_TESTS_CACHE"]}


def is_campaign(config: pytest.Config) -> bool:
    """Return whether it is the slow tests that are asked for."""
    return config.option.markexpr.strip() == "slow"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Take a worker for each processor, and one for when others wait, unless somebody has said how many.

    Only when the whole suite is run.
    """
    option = config.option
    whole = config.args_source is config.ArgsSource.TESTPATHS and not hasattr(config, "workerinput")
    looking = (
        option.usepdb or option.collectonly or option.capture == "no" or option.keyword or getattr(option, "lf", False)
    )
    if (
        whole
        and not looking
        and option.markexpr not in ("bench", "long")
        and getattr(option, "numprocesses", 0) is None
    ):
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        option.numprocesses = min(processors + 1, MOST_WORKERS) if processors > 1 else 0
        option.dist, option.loadscopereorder = "loadfile", False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give workers whole groups, in the order in which they stand in the list of tests."""
    from xdist.scheduler import LoadFileScheduling

    class Groups(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log) if config.option.dist == "loadfile" else None


def pytest_configure(config: pytest.Config) -> None:
    """Draw all examples of a law in a campaign, and have one cache folder for all processes of this run."""
    if is_campaign(config):
        settings.load_profile("campaign")
    if not hasattr(config, "workerinput"):
        os.environ["MBLAB_TESTS_CACHE"] = folder = tempfile.mkdtemp(prefix="mblab-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let laws be slow tests in a campaign, and put long groups before short ones where workers share the suite."""
    if is_campaign(config):
        for item in items:
            if is_hypothesis_test(getattr(item, "obj", None)):
                item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):
        rank = {group: place for place, group in enumerate(LONG)}
        items.sort(key=lambda item: rank.get(PurePosixPath(group_of(item.nodeid)).stem, len(LONG)))


# -- a notebook ---------------------------------------------------------------------------------------------------

PATIENCE_S = 60.0  # a busy machine may take 20 s to start a kernel

HELPERS = """
import json, threading, time
import numpy as np
import mblab
from mblab.testing import rows_at

def until(claim, seconds=30):
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.002)

def rows(seconds, per_second=1000):
    return rows_at((np.arange(seconds * per_second) + 0.5) / per_second)

def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("mblab-")]
"""


@dataclass
class Outcome:
    """What one execution of a cell left behind."""

    text: str = ""
    error: str = ""  # the class of what was raised
    trace: str = ""  # as the notebook shows it
    shown: list[dict] = field(default_factory=list)  # mime bundles


class Notebook:
    """Cells typed into a running kernel by a front end that sends cell ids, or by one that does not."""

    def __init__(self, manager: KernelManager, client, *, with_ids: bool) -> None:
        self.manager, self.client, self.with_ids = manager, client, with_ids
        self.strays: list[dict] = []  # what came while no cell was running

    def send(self, code: str, cell: str | None = None, *, stdin: bool = True) -> str:
        """Start a cell and return at once."""
        content = {
            "code": textwrap.dedent(code).strip(), "silent": False, "store_history": True,
            "user_expressions": {}, "allow_stdin": stdin, "stop_on_error": False,
        }  # fmt: skip
        metadata = {"cellId": cell} if cell and self.with_ids else {}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def finish(self, sent: str, patience_s: float = PATIENCE_S) -> Outcome:
        """Wait for a cell and return what it left."""
        outcome, deadline = Outcome(), time.monotonic() + patience_s
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != sent:
                self.strays.append(message)
            elif kind == "stream":
                outcome.text += content["text"]
            elif kind in ("execute_result", "display_data"):
                outcome.shown.append(content["data"])
            elif kind == "error":
                outcome.error, outcome.trace = content["ename"], "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                break
        while self.client.get_shell_msg(timeout=PATIENCE_S)["parent_header"].get("msg_id") != sent:
            pass
        return outcome

    def run(self, code: str, cell: str | None = None, *, stdin: bool = True) -> Outcome:
        """Run a cell that must not fail."""
        outcome = self.fail(code, cell, stdin=stdin)
        assert not outcome.error, outcome.trace
        return outcome

    def fail(self, code: str, cell: str | None = None, *, stdin: bool = True) -> Outcome:
        """Run a cell that may fail."""
        return self.finish(self.send(code, cell, stdin=stdin))

    def value(self, expression: str):
        """Return what an expression is in the kernel, through JSON."""
        return json.loads(self.run(f"print(json.dumps({expression}))").text)

    def frame(self, expression: str):
        """Return the columns of a frame in the kernel, as lists."""
        return self.value(f"({expression}).to_dict('list')")

    def interrupt(self) -> None:
        """Press the stop button of the front end."""
        self.manager.interrupt_kernel()

    def drain(self) -> None:
        """Take what came after the last cell."""
        with suppress(queue.Empty):
            while True:
                self.strays.append(self.client.get_iopub_msg(timeout=0.02))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory) -> Iterator[tuple[KernelManager, object]]:
    """One kernel for a file, which finds it as it was started."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path_factory.mktemp("notebook")), env=os.environ | shared_cache())
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE_S)
        Notebook(manager, client, with_ids=False).run(HELPERS)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture(
    params=[
        pytest.param(True, id="with cell ids"),
        pytest.param(False, id="without cell ids", marks=pytest.mark.slow),  # of other front ends
    ]
)
def with_ids(request) -> bool:
    return request.param


@pytest.fixture
def notebook(kernel, with_ids) -> Iterator[Notebook]:
    book = Notebook(*kernel, with_ids=with_ids)
    yield book
    book.run("""
        lab.stop()
        until(lambda: not threads())
    """)
    book.drain()
    loud = [m["content"] for m in book.strays if m["msg_type"] != "status"]

    assert loud == []  # the compute thread prints nothing and displays nothing
