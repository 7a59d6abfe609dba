"""Two runs side by side."""

import numpy as np
import pytest

import mblab
from mblab import Lab, SettingError
from mblab.testing import rows_at


def run_at(interval, name="flights", policy="asap", step=None):
    lab = Lab(rows_at(np.arange(300) / 10), interval=interval, name=name, policy=policy)
    if step is not None:
        lab.batch(name="step")(step)
    return lab.run("30s", clock="virtual", cost=lambda n: 0.1 + 0.01 * n)


def older(batch):
    return len(batch)


def newer(batch):
    return len(batch) + 1


def test_the_table_holds_every_figure_of_both_summaries():
    """Difference and ratio start from the first run."""
    a, b = run_at("1s"), run_at("2s")
    table = mblab.compare(a, b).table.set_index("measure")
    s = a.summary()

    assert table.a["latency_p95_s"] == s.latency_p95_s
    assert table.difference["latency_p95_s"] == pytest.approx(b.summary().latency_p95_s - s.latency_p95_s)
    assert table.ratio["batches"] == pytest.approx(0.5)
    assert np.isnan(table.ratio["failures"])
    assert set(table.index) == set(s.index) - {"run_id", "regime", "quantiles"}


def test_what_differs_in_the_making_is_listed_and_nothing_else():
    """Settings, knobs that moved, regime; the same ones are left out."""
    settings = mblab.compare(run_at("1s"), run_at("100ms", policy="skip")).settings.set_index("setting")

    assert settings.loc["interval_s"].tolist() == ["1.0", "0.1"]
    assert settings.loc["policy"].tolist() == ["asap", "skip"]
    assert set(settings.index) <= {"interval_s", "policy", "regime"}


def test_changed_code_is_a_diff():
    """Line by line, with both runs' names."""
    a, b = run_at("1s", step=older), run_at("1s", step=newer)
    code = mblab.compare(a, b).code

    assert "-    return len(batch)\n" in code
    assert "+    return len(batch) + 1" in code
    assert a.run_id in code
    assert mblab.compare(a, a).code == ""


def test_the_plot_draws_both_runs_over_one_axis():
    """Each under its letter, name and id; also names that look like markup or expressions stay text."""
    hostile = "'}[0]</script>{{1}}"
    a, b = run_at("1s", name=hostile), run_at("2s")
    c = mblab.compare(a, b)
    spec = c.plot().to_dict()
    labels = spec["vconcat"][0]["layer"][0]["encoding"]["color"]["scale"]["domain"]

    assert labels == [f"a: {hostile} {a.run_id}", f"b: flights {b.run_id}"]
    assert len(spec["vconcat"]) == 4
    bundle = c._repr_mimebundle_()
    assert bundle["image/png"]
    assert "latency_p95_s" in bundle["text/plain"]
    assert "latency p50" in repr(c)


def test_saved_runs_are_compared_like_live_ones(tmp_path):
    """From disk, and one of each."""
    a, b = run_at("1s", step=older), run_at("2s", step=newer)
    for name, run in (("a", a), ("b", b)):
        run.save(tmp_path / name)
    again = [mblab.load_run(tmp_path / name) for name in ("a", "b")]
    live, saved, mixed = mblab.compare(a, b), mblab.compare(*again), mblab.compare(a, again[1])

    assert saved.table.equals(live.table)
    assert mixed.table.equals(live.table)
    assert saved.settings.equals(live.settings)
    assert saved.code == live.code
    assert saved.plot().to_dict() == live.plot().to_dict()


def test_runs_without_rows_are_compared_too():
    """NaN where there is nothing to compare; the chart says so."""
    empty = Lab(rows_at([])).run("2s", clock="virtual", cost=0)
    c = mblab.compare(empty, run_at("1s"))

    assert np.isnan(c.table.set_index("measure").difference["latency_p95_s"])
    assert "load" in repr(c)
    assert c.plot().to_dict()


def test_what_is_no_run_is_refused():
    """One sentence, which of the two."""
    with pytest.raises(SettingError, match="compare needs two runs, got 'x' as the second"):
        mblab.compare(run_at("1s"), "x")
