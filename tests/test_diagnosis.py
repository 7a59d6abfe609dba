"""A run that falls behind says why, and what would help."""

import time

import numpy as np
import pytest

import mblab
from mblab import Lab
from mblab.arrivals import bursts, poisson
from mblab.testing import rows_at


def diagnosed(arrivals, interval, cost, **knobs):
    """The paragraph of a minute on the virtual clock."""
    source = mblab.simulate(lambda n, rng, t: {"x": t}, arrivals=arrivals, duration="60s")
    return Lab(source, interval=interval, **knobs).run("60s", clock="virtual", cost=cost).diagnose()


def affine(n):
    """100 ms and 200 ms per 1 000 rows: T* is 125 ms at 1 000 rows a second."""
    return 0.1 + 2e-4 * n


def test_a_run_that_keeps_up_is_told_so_and_how_much_fresher_it_could_be():
    """The shortest comfortable interval has a load of 0.8: a/(0.8 − bλ) = 167 ms, on a grid of two digits."""
    text = diagnosed(poisson(1000), "1s", affine)

    assert text.startswith("The run keeps up at one batch every 1 s (load 0.30)")
    assert "could go down to 180 ms" in text


def test_an_interval_that_is_too_short_gets_its_cure_in_figures():
    """A longer interval, or a function so much faster."""
    text = diagnosed(poisson(1000), "100ms", affine)

    assert "The work does not fit into the interval" in text
    assert "An interval of 180 ms would bring the load to 0.7" in text
    assert "a function 1.5× as fast" in text


def test_a_cap_that_is_too_small_is_named():
    """800 of 1 000 rows a second get through."""
    text = diagnosed(poisson(1000), "1s", lambda n: 1e-4 * n, max_rows_per_batch=800)

    assert "The run falls behind" in text
    assert "waiting behind a cap" in text
    assert "The cap lets 800 of" in text


def test_work_that_outgrows_every_interval_needs_a_faster_function():
    """bλ = 1.5."""
    text = diagnosed(poisson(1000), "1s", lambda n: 1.5e-3 * n)

    assert "no interval helps" in text
    assert "1.9× as fast" in text


def test_bursts_are_seen():
    """The mean rate hides them."""
    assert "Rows come in bursts" in diagnosed(bursts(on=2, off=18, rate_on=5000, rate_off=100), "500ms", affine)


def test_batches_of_one_size_do_not_tell_what_others_cost():
    """It says so, instead of guessing a slope."""
    lab = Lab(rows_at(np.arange(0, 20, 0.01)), interval="100ms")
    text = lab.run("20s", clock="virtual", cost=0.15).diagnose()

    assert "lab.calibrate() finds out" in text


def test_a_queue_that_is_behind_waits_for_the_batch_before():
    """Its rows are late because batches are."""
    text = diagnosed(poisson(1000), "100ms", lambda n: 0.15 + 2e-4 * n, policy="queue")

    assert "The run falls behind" in text
    assert "waiting for the batch before" in text


def test_only_the_newest_settings_are_judged():
    """After the interval was mended, the run keeps up."""
    source = mblab.simulate(lambda n, rng, t: {"x": t}, arrivals=poisson(1000), duration="60s")
    lab = Lab(source, interval="100ms")
    run = lab.run("60s", clock="virtual", cost=affine, controls={"20s": {"interval": "1s"}})

    assert run.diagnose().startswith("The run keeps up at one batch every 1 s")


@pytest.mark.parametrize("times", [[], [0.5]])
def test_a_run_without_rows_has_nothing_to_diagnose(times):
    """Also with a single one."""
    run = Lab(rows_at(times), interval="1s").run("3s", clock="virtual", cost=0)

    assert "nothing to diagnose" in run.diagnose()


def test_a_live_run_can_be_diagnosed_while_it_is_on():
    """And waiting is told from computing."""
    source = mblab.simulate(lambda n, rng, t: {"x": t}, arrivals=poisson(2000))
    lab = Lab(source, interval="20ms")

    @lab.batch
    def serve(batch):
        time.sleep(0.01 + 1e-6 * len(batch))

    run = lab.start("5s")
    while len(run.batches) < 30:
        time.sleep(0.02)
    text = run.diagnose()
    lab.stop()

    assert "batch every 20 ms" in text or "the 20 ms" in text
    assert "is waiting, not computing" in text


def test_a_run_from_disk_diagnoses_itself_too(tmp_path):
    """Its frames are enough."""
    source = mblab.simulate(lambda n, rng, t: {"x": t}, arrivals=poisson(1000), duration="30s")
    run = Lab(source, interval="100ms").run("30s", clock="virtual", cost=affine)

    assert mblab.load_run(run.save(tmp_path / "run")).diagnose() == run.diagnose()
