"""G12: what a dashboard takes from the run that it shows.

In one real kernel, runs with and without the sending thread take turns; the page is this process, which reads all that
is sent, so no browser competes for the machine.
"""

import json

import numpy as np
import pytest
from jupyter_client.manager import KernelManager

pytestmark = pytest.mark.bench

SETUP = """
import json, time
import numpy as np
import mblab
from mblab.testing import rows_at
from mblab.dashboard import face

def block(shown, interval_s, seconds):
    lab = mblab.Lab(rows_at(np.arange(int(seconds * 1000)) / 1000), interval=interval_s, name="paced")
    lab.batch(len, name="count")
    face.panel_of(lab) if shown else face.close_panels()
    time.sleep(0.3)
    cpu, began = time.process_time(), time.monotonic()
    run = lab.start(seconds)
    run.wait()
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    b = run.batches
    return share, float((b.scheduling_delay_s + b.wake_delay_s).quantile(0.99))

def turns(interval_s, seconds, rounds):
    block(True, interval_s, 2)
    found = [(block(False, interval_s, seconds), block(True, interval_s, seconds)) for _ in range(rounds)]
    print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def kernel():
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def asked(client, code):
    """Run code in the kernel, reading whatever comes, and return what it printed."""
    texts = []

    def hear(message):
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            texts.append(message["content"]["text"])

    reply = client.execute_interactive(code, output_hook=hear, timeout=600)

    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(texts)


@pytest.mark.parametrize(("interval_s", "most"), [(0.1, 3), (0.02, None)])
def test_a_run_does_not_feel_its_dashboard(report, kernel, interval_s, most):
    """Processor time of the kernel, and how far from the grid the batches start."""
    asked(kernel, SETUP)
    alone, shown = np.swapaxes(json.loads(asked(kernel, f"turns({interval_s}, 10, 5)")), 0, 1)
    name = f"{interval_s * 1000:g} ms"

    report.judge(
        "G12", f"CPU of a core that the dashboard takes, {name}", 100 * np.median(shown[:, 0] - alone[:, 0]),
        at_most=most, fails=most and 3 * most, unit="%", with_=shown[:, 0], without=alone[:, 0],
    )  # fmt: skip
    report.judge(
        "G12", f"p99 off the grid, {name}, with a dashboard ÷ without", np.median(shown[:, 1]) / np.median(alone[:, 1]),
        at_most=2, fails=6, with_ms=shown[:, 1] * 1e3, without_ms=alone[:, 1] * 1e3,
    )  # fmt: skip
