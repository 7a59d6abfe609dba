"""Charts: what is marked, what is drawn, and that the result opens anywhere."""

import base64
import csv
import inspect
import io
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import altair as alt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab import charts
from mblab.charts import frames, style
from mblab.errors import ColumnError, MissingExtra, SettingError, SettingTypeError
from mblab.metrics import BATCH_COLUMNS
from mblab.testing import rows_at

from .laws import examples

V5_MIME = "application/vnd.vegalite.v5+json"
LATENCIES = [name for name in BATCH_COLUMNS if name.startswith("latency")]


def frame_of(count, *, interval_s=1.0, load=0.3, rows=1000, **columns):
    """Return a frame with the columns and dtypes of `run.batches`; later arguments replace columns."""
    start = interval_s * np.arange(1, count + 1)
    duration = load * interval_s
    frame = pd.DataFrame(index=range(count), columns=list(BATCH_COLUMNS), dtype=float).assign(
        batch_id=range(count), attempt=1, status="ok", interval_s=interval_s, policy="asap", version=1,
        due_s=start, start_s=start, end_s=start + duration, num_input_rows=rows, num_output_rows=1, backlog_rows=0,
        batch_duration_s=duration, latency_mean_s=0.5 * interval_s + duration,
        latency_p50_s=0.5 * interval_s + duration,
        latency_p95_s=0.95 * interval_s + duration, latency_p99_s=0.99 * interval_s + duration,
        latency_max_s=interval_s + duration, input_rows_per_second=rows / interval_s,
        processed_rows_per_second=rows / duration if duration else np.nan, load=load, error="",
    )  # fmt: skip
    return frame.assign(**columns)


def curve_of(intervals=(0.05, 0.1, 0.5, 1.0), **columns):
    """Return a frame with the columns of `sweep.table`."""
    at = np.array(intervals, float)
    table = pd.DataFrame(
        {
            "interval_s": at, "latency_mean_s": at / 2 + 0.1, "latency_p50_s": at / 2 + 0.1, "latency_p95_s": at + 0.1,
            "latency_p99_s": at + 0.11, "num_input_rows_mean": at * 1000, "load": 0.1 / at, "backlog_rows": 0,
            "regime": np.where(at > 0.1, "on_schedule", "self_clocked"), "throughput": 1000.0,
        }
    )  # fmt: skip
    return table.assign(**columns)


def failed():
    frame = frame_of(20)
    frame.loc[19, [*LATENCIES, "end_s", "load"]] = np.nan
    frame.loc[19, ["status", "error"]] = ["failed", "KeyError: 'carier'\n  in line 3 </script>"]
    return frame


def empty():
    return frame_of(5, status="empty", num_input_rows=0, load=0.0, **dict.fromkeys(LATENCIES, np.nan))


def swapped():
    frame = frame_of(30)
    frame.loc[10:, "interval_s"] = 0.5
    frame.loc[20:, "version"] = 2
    return frame


FRAMES = {
    "none": frame_of(0),
    "one": frame_of(1),
    "on schedule": frame_of(60),
    "overload": frame_of(200, load=4.0, interval_s=0.1),
    "empty": empty(),
    "failed": failed(),
    "changes": swapped(),
    "infinite": frame_of(3, load=np.inf, latency_p99_s=np.inf),
    "unknown": pd.DataFrame({"start_s": [1.0, 2.0]}),
    "missing": pd.DataFrame(None, index=range(3), columns=list(BATCH_COLUMNS), dtype=object).assign(
        start_s=[1.0, None, 3.0]
    ),
}


def embedded(spec):
    """Return the rows of the CSV inside a spec."""
    text = next(text for text in spec["datasets"].values() if isinstance(text, str) and "start_s" in text)
    return list(csv.DictReader(io.StringIO(text)))


def strings(value):
    """Yield every string in a spec."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(part)


# --- what is marked ---------------------------------------------------------------------------------------------------


def test_a_change_of_interval_and_of_version_is_marked_where_it_takes_effect():
    """The mark stands at the start of the first batch that has the new value, and says from what to what."""
    marks = charts.marks_of(swapped())

    assert marks[["start_s", "batch_id", "kind", "label"]].to_numpy().tolist() == [
        [11.0, 10, "interval", "1 s → 500 ms"],
        [21.0, 20, "version", "v2"],
    ]


def test_batches_that_did_not_go_well_are_marked_with_the_first_line_of_their_error():
    """Retried, dead-lettered and failed batches carry a mark; ok and empty ones do not."""
    frame = failed()
    frame.loc[3, "status"], frame.loc[4, "status"], frame.loc[5, "status"] = "retried", "dead_lettered", "empty"
    marks = charts.marks_of(frame)

    assert marks["kind"].tolist() == ["retried", "dead_lettered", "failed"]
    assert marks["label"].tolist() == ["retried", "dead lettered", "failed"]
    assert marks["detail"].tolist() == ["", "", "KeyError: 'carier'"]


def test_a_missing_interval_or_version_is_no_change():
    """NaN says that nobody knows, not that something moved."""
    frame = frame_of(4, interval_s=1.0)
    frame["interval_s"] = [1.0, np.nan, 1.0, np.nan]
    frame["version"] = [1, np.nan, 1, np.nan]

    assert charts.marks_of(frame).empty


@pytest.mark.parametrize("name", FRAMES)
def test_marks_have_their_columns_whatever_the_frame(name):
    """The shape of the answer does not depend on what is in it."""
    assert tuple(charts.marks_of(FRAMES[name]).columns) == charts.MARK_COLUMNS


@given(
    at=st.lists(st.floats(0, 590), max_size=60).map(sorted),
    length=st.integers(1, 20),
    kinds=st.lists(st.sampled_from(frames.MARK_KINDS), min_size=60, max_size=60),
)
@examples(60)
def test_labels_never_lie_on_each_other_nor_leave_the_page(at, length, kinds):
    """Within a lane the boxes of the labels are disjoint, and each ends left of the page's edge."""
    marks = pd.DataFrame({"kind": kinds[: len(at)], "label": ["x" * length] * len(at), "at": at})
    placed = frames.placed(marks, at, 685)
    width = frames.SYMBOL_PX + frames.CHARACTER_PX * length
    for _, lane in placed[placed["label"] != ""].groupby("lane"):
        left = [at if side == "right" else at - width for at, side in zip(lane["at"], lane["side"], strict=True)]

        assert all(a + width <= b + 1e-6 for a, b in zip(left, left[1:], strict=False))
        assert all(edge + width <= 685 for edge in left)


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_few_batches_are_all_drawn():
    """Up to max_points nothing is left out."""
    frame = frame_of(50)

    assert charts.thinned(frame, 50) is frame


@given(
    heights=st.lists(st.one_of(st.floats(0, 1e6), st.just(float("nan"))), min_size=11, max_size=400),
    max_points=st.integers(10, 60),
)
@examples(60)
def test_thinning_keeps_every_peak_the_order_and_the_limit(heights, max_points):
    """At most max_points whole rows, ascending, with the ends and the largest of each column that has peaks."""
    count = len(heights)
    mixed = {name: np.roll(heights, 7 * k) for k, name in enumerate(frames.PEAKS)}
    frame = pd.DataFrame({"start_s": np.arange(count), **mixed})
    thin = charts.thinned(frame, max_points)

    assert len(thin) == min(count, max_points)
    assert thin["start_s"].is_monotonic_increasing
    assert {0, count - 1} <= set(thin["start_s"])
    pd.testing.assert_frame_equal(thin, frame.loc[thin.index])
    for name in frames.PEAKS:
        assert thin[name].max() == frame[name].max() or frame[name].isna().all()


@pytest.mark.parametrize(
    ("max_points", "error"),
    [(9, SettingError), (-1, SettingError), ("100", SettingTypeError), (True, SettingTypeError)],
)
def test_max_points_has_a_rule(max_points, error):
    """At least ten, a whole number; the message names the knob and the value."""
    with pytest.raises(error, match=r"max_points must be .*got"):
        charts.run_chart(frame_of(3), max_points=max_points)


def test_a_long_run_says_that_not_every_batch_is_drawn():
    """A reader is told, and the summit of a single batch is still there."""
    frame = frame_of(3000, rows=10)
    frame.loc[1234, "num_input_rows"] = 98_765
    spec = charts.run_chart(frame, max_points=100).to_dict()

    assert spec["title"]["subtitle"] == "100 of 3,000 batches drawn, every peak among them"
    assert "98765" in {row["num_input_rows"] for row in embedded(spec)}


@pytest.mark.parametrize("name", FRAMES)
def test_any_run_becomes_five_panels_on_one_time_axis(name):
    """No rows, one row, empty, failed and infinite batches: valid JSON that Vega draws in 760 px, long title or not."""
    spec = charts.run_chart(FRAMES[name], title=f"a run that is {name} · " * 8).to_dict()
    panels = [panel["title"]["text"] for panel in spec["vconcat"] if "title" in panel]

    assert [text.split()[0].strip(":") for text in panels] == ["Latency", "Batch", "Throughput", "Backlog", "Load"]
    assert spec["resolve"]["scale"]["x"] == "shared"
    json.dumps(spec, allow_nan=False)
    assert draws(spec)


def draws(spec):
    """Return whether the oldest Vega-Lite 5 at hand draws a spec in 760 px, with no undefined number in it."""
    import vl_convert

    oldest = next(version for version in vl_convert.get_vegalite_versions() if version.startswith("5."))
    svg = vl_convert.vegalite_to_svg(spec, vl_version=oldest)
    undefined = re.search(r"NaN|Infinity|undefined|>null<", svg)
    return undefined is None and 600 < float(ET.fromstring(svg).attrib["width"]) <= 760


def test_the_record_is_embedded_once_and_whole():
    """One copy for all panels, under the names of run.batches, without the columns that hold nothing."""
    spec = charts.run_chart(frame_of(3, load=1 / 3)).to_dict()
    rows = embedded(spec)

    assert sum("start_s" in str(values) for values in spec["datasets"].values()) == 1
    assert rows[2]["start_s"] == "3"
    assert rows[2]["load"] == "0.33333"
    assert rows[2]["status"] == "ok"
    assert set(rows[0]) <= set(BATCH_COLUMNS)
    assert "state_bytes" not in rows[0]


def test_the_first_line_of_an_error_survives_quotes_and_line_breaks():
    """CSV text reads back what was written."""
    frame = frame_of(2, error=['KeyError: "a, b"\nnext line', ""], status="failed")

    assert embedded(charts.run_chart(frame).to_dict())[0]["error"] == 'KeyError: "a, b"'


def test_rates_far_apart_share_a_logarithmic_axis():
    """A fast function on a slow stream would press the arrivals onto the axis."""
    near, far = frame_of(9), frame_of(9, processed_rows_per_second=1e6)
    scales = [charts.run_chart(f).to_dict()["vconcat"][2]["layer"][0]["encoding"]["y"]["scale"] for f in (near, far)]

    assert [scale["type"] for scale in scales] == ["linear", "log"]


@pytest.mark.parametrize(("seconds", "title"), [(0.2, "latency (ms)"), (3.0, "latency (s)")])
def test_latencies_are_in_ms_below_a_second(seconds, title):
    """One unit a chart, named on the axis."""
    spec = charts.run_chart(frame_of(5, interval_s=seconds)).to_dict()

    assert spec["vconcat"][0]["layer"][1]["encoding"]["y"]["title"] == title


def test_overload_is_told_by_a_shape_as_well_as_a_colour():
    """Nobody has to tell blue from vermilion."""
    spec = charts.run_chart(FRAMES["overload"]).to_dict()
    symbols = spec["vconcat"][-1]["layer"][2]["encoding"]

    assert symbols["shape"]["scale"]["range"] == ["circle", "triangle-up"]
    assert symbols["shape"]["scale"]["domain"] == symbols["color"]["scale"]["domain"]


def test_marks_can_be_given():
    """What the caller marks replaces what the frame shows."""
    own = pd.DataFrame({"start_s": [5.0], "kind": ["version"], "label": ["here"]})
    texts = " ".join(strings(charts.run_chart(swapped(), marks=own).to_dict()))

    assert ",here," in texts
    assert "1 s → 500 ms" not in texts


@pytest.mark.parametrize("table", [curve_of(), curve_of([]), curve_of([0.5]), curve_of(latency_p99_s=np.nan)])
def test_a_curve_is_drawn_with_its_marks(table):
    """Any number of intervals, and the label of T* beside its rule."""
    spec = charts.curve_chart(table, marks=[(0.125, "T* 125 ms"), (float("nan"), "nowhere")], title="Sweep").to_dict()
    texts = " ".join(strings(spec))

    assert draws(spec)
    assert "T* 125 ms" in texts
    assert "nowhere" not in texts


def test_a_curve_has_bands_where_the_table_has_them():
    """A quantile with _lo and _hi gets an area; without them there is none."""
    banded = curve_of(latency_p95_s_lo=0.1, latency_p95_s_hi=1.2)
    areas = [
        sum(
            layer["mark"]["type"] == "area"
            for layer in charts.curve_chart(t).to_dict(validate=False)["vconcat"][0]["layer"]
        )
        for t in (curve_of(), banded)
    ]

    assert areas == [0, 1]


@pytest.mark.parametrize(
    ("draw", "frame", "error", "words"),
    [
        (charts.run_chart, pd.DataFrame({"start": [1]}), ColumnError, "did you mean 'start'"),
        (charts.run_chart, [1, 2], SettingTypeError, "batches must be a DataFrame, got"),
        (charts.curve_chart, pd.DataFrame({"interval": [1]}), ColumnError, "did you mean 'interval'"),
        (charts.curve_chart, None, SettingTypeError, "table must be a DataFrame, got None"),
    ],
)
def test_a_frame_that_is_none_of_ours_is_refused(draw, frame, error, words):
    """The message names the argument, what is missing and what there is."""
    with pytest.raises(error, match=words):
        draw(frame)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(a, b):
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_text_and_lines_are_readable_on_light_and_on_dark():
    """WCAG: 4.5:1 for text, 3:1 for what is drawn."""
    assert min(contrast(style.GREY, page) for page in ("#ffffff", "#000000")) >= 4.5
    for colour in (style.BLUE, style.GREEN, style.VERMILION, style.PINK):
        assert min(contrast(colour, page) for page in ("#ffffff", "#111111")) >= 3
    assert charts.run_chart(frame_of(2)).to_dict()["config"]["background"] == "transparent"


# --- what opens anywhere ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("draw", "frame"), [(charts.run_chart, swapped()), (charts.curve_chart, curve_of())])
def test_the_bundle_is_offline_and_vega_lite_5(draw, frame):
    """JupyterLab 4 draws it by itself; the PNG is for the rest; nothing is fetched."""
    bundle = charts.mimebundle(draw(frame), "in words")
    spec = bundle[V5_MIME]

    assert set(bundle) == {V5_MIME, "image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"] == "in words"
    assert [text for text in strings(spec) if "://" in text] == ["https://vega.github.io/schema/vega-lite/v5.json"]
    assert draws(spec)


@pytest.mark.parametrize("reason", ["not installed", "fails"])
def test_without_a_png_the_bundle_is_spec_and_text(monkeypatch, reason):
    """vl-convert may be missing or fail: a notebook still shows the chart."""
    if reason == "not installed":
        monkeypatch.setitem(sys.modules, "vl_convert", None)
    else:
        monkeypatch.setattr("vl_convert.vegalite_to_png", lambda *_, **__: 1 / 0)
    bundle = charts.mimebundle(alt.Chart().mark_point(), "words")

    assert set(bundle) == {V5_MIME, "text/plain"}


@pytest.mark.parametrize("draw", [charts.png_bytes, charts.svg_text, charts.html_fragment])
def test_an_image_without_vl_convert_says_what_to_install(monkeypatch, draw):
    """Asked for directly, a missing package is an error that names the command."""
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    with pytest.raises(MissingExtra, match=r"needs vl_convert, .* pip install 'mblab\[lab\]'"):
        draw(alt.Chart().mark_point())


def test_a_fragment_runs_no_script_and_shares_a_page():
    """Inline SVG that is well-formed, loads nothing, and whose ids no other figure has; its name is escaped."""
    page = [charts.html_fragment(charts.run_chart(f, title="<script>a & b</script>")) for f in (failed(), swapped())]
    ids = [set(re.findall(r'\bid="([^"]+)"', figure)) for figure in page]
    used = [set(re.findall(r"url\(#([^)]+)\)", figure)) for figure in page]

    for figure, own, wanted in zip(page, ids, used, strict=True):
        assert ET.fromstring(figure).attrib["aria-label"] == "<script>a & b</script>"
        assert "<script" not in figure
        assert not re.search(r'(?:href|src)="', figure)
        assert wanted <= own
    assert not ids[0] & ids[1]


HOSTILE = "x</script><script>alert(1)</script>"


def hostile_run(tmp_path):
    """A saved run whose name would do harm."""
    lab = mblab.Lab(rows_at([0.5, 1.5]), interval="1s", name=HOSTILE)
    lab.batch(lambda batch: batch, name="same")
    return mblab.load_run(lab.run(clock="virtual", cost=0.1).save(tmp_path / "run"))


@pytest.mark.parametrize("kind", ["run", "compared"])
def test_a_chart_shows_itself_offline_and_runs_nothing(kind, tmp_path):
    """B12: its own bundle, without a page that fetches Altair's library; and no text opens or ends a script."""
    run = hostile_run(tmp_path)
    chart = run.plot() if kind == "run" else mblab.compare(run, run).plot()
    bundle = chart._repr_mimebundle_()

    assert set(bundle) == {V5_MIME, "image/png", "text/plain"}
    assert [text for text in strings(bundle[V5_MIME]) if "://" in text] == [charts.render.SCHEMA]
    spec = bundle[V5_MIME]
    titles = [part["title"]["text"] for part in (spec, *spec["vconcat"]) if "title" in part]
    assert "</script" not in json.dumps(titles) + spec["description"] + bundle["text/plain"]
    assert kind == "compared" or "‹/script>" in spec["description"]


@pytest.mark.parametrize(
    "draw",
    [charts.run_chart, charts.curve_chart, charts.overlay_chart, charts.spectrum_chart, charts.waterfall_chart]
    + [charts.cost_chart, charts.decisions_chart, charts.ribbon_chart],
)
def test_every_chart_is_made_to_show_itself_offline(draw):
    """B12's siblings: all of them are dressed in the same place, where that is seen to."""
    assert "return dressed(" in inspect.getsource(draw)
    assert isinstance(style.dressed(alt.Chart().mark_point(), "x"), type(style.dressed(alt.Chart(), None)))
    assert (
        style.dressed(alt.Chart().mark_point(), HOSTILE).copy()._repr_mimebundle_.__module__ == "mblab.charts.offline"
    )


def test_a_page_that_altair_makes_of_a_chart_runs_nothing(tmp_path):
    """B12's siblings: to_html and save, of titles and of values in the data; what they say stays the same."""
    rows = alt.InlineData([{"x": HOSTILE}])
    chart = style.dressed(alt.Chart(rows).mark_point().encode(x="x:N"), HOSTILE)
    chart.save(tmp_path / "chart.html")
    chart.save(tmp_path / "chart.json")
    pages = [chart.to_html(), chart.to_html(json_kwds={"indent": 1}), (tmp_path / "chart.html").read_text()]
    embedded, _ = json.JSONDecoder().raw_decode(pages[0][pages[0].index('{"config"') :])

    assert not any("<script>alert" in page for page in pages)
    assert embedded == json.loads((tmp_path / "chart.json").read_text()) == chart.to_dict()
    assert [*embedded["datasets"].values()] == [[{"x": HOSTILE}]]
    assert embedded["description"] == "x‹/script>‹script>alert(1)‹/script>"


def test_enabled_the_renderer_serves_users_own_charts():
    """Altair's own default would ask a CDN."""
    before = alt.renderers.active
    try:
        charts.enable()
        bundle = alt.Chart(pd.DataFrame({"x": [1, 2]})).mark_point().encode(x="x")._repr_mimebundle_()
    finally:
        alt.renderers.enable(before)

    assert alt.renderers.active == before
    assert bundle[V5_MIME]["$schema"].endswith("/v5.json")
    assert "image/png" in bundle


def test_two_thousand_batches_are_a_small_spec():
    """Under half a megabyte with every column filled."""
    durations = [name for name in BATCH_COLUMNS if name.endswith("_s") and name not in ("start_s", "interval_s")]
    rng = np.random.default_rng(1)
    frame = frame_of(2000, **{name: rng.random(2000) for name in durations})

    assert len(json.dumps(charts.run_chart(frame).to_dict())) < 500_000


def test_what_no_chart_needs_is_compiled_when_somebody_asks_for_it(tmp_path):
    """A grammar of addresses that jsonschema would compile for seconds; whoever checks an address still gets it."""
    (tmp_path / "rfc3987_syntax.py").write_text(
        "print('compiled')\ndef is_valid_syntax(term, value):\n    return value.startswith('http')\n"
    )
    program = """
import mblab.charts.over_time, jsonschema
print("drawn")
check = lambda text: jsonschema.Draft202012Validator.FORMAT_CHECKER.conforms(text, "iri")
print(check("http://ö.example"), check("ö"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}, timeout=120,
    )  # fmt: skip

    assert done.stdout.split() == ["drawn", "compiled", "True", "False"], done.stderr


def test_millions_of_batches_are_drawn_as_few():
    """B18: the texts of all of them are not looked at one by one, and the chart says how many it shows."""
    count = 300_000
    texts = {"status": ["ok", "failed"], "error": ["", "no\nroom"], "policy": ["asap", "asap"]}
    frame = pd.DataFrame(
        {"batch_id": np.arange(count), "start_s": np.arange(count) / 10, "latency_p99_s": np.arange(count) % 977}
        | {name: pd.Series(values * (count // 2), dtype="str") for name, values in texts.items()}
    )
    began = time.process_time()
    drawn, total = frames.drawn_rows(frame, "batches", "start_s", BATCH_COLUMNS, 500)
    took = time.process_time() - began

    assert took < 1.5
    assert (len(drawn), total) == (500, count)
    assert drawn["latency_p99_s"].max() == 976
    assert set(drawn["error"]) == {"", "no"}
    assert drawn["batch_id"].iloc[-1] == count - 1
