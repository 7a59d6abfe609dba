"""Files of unlike kinds, names that are half characters, charts that travel: told or kept."""

import itertools
import json
import pickle

import pandas as pd
import pytest

import mblab
from mblab import Lab, SinkError, SourceError, replay, sinks

KINDS = {
    "numbers": [5, 1.5],
    "text": ["a"],
    "truth": [True],
    "times": ["2026-01-01T10:00:00"],
    "times in UTC": ["2026-01-01T10:00:00Z"],
    "lists": [[1], [2]],
    "objects": [{"a": 1}],
    "nulls": [None],
}
TEXTS = {"text", "times", "times in UTC"}


@pytest.mark.parametrize(("one", "other"), [*itertools.permutations(KINDS, 2)])
def test_files_of_json_go_together_or_are_refused_in_words(one, other, tmp_path):
    """No word of Arrow's for what JSON has; text in one file is text in all, as within a file."""
    for i, kind in enumerate((one, other)):
        lines = [json.dumps({"t": i, "v": value}) + "\n" for value in KINDS[kind]]
        (tmp_path / f"part-{i}.jsonl").write_text("".join(lines))
    source = replay(tmp_path / "part-*.jsonl", rate=1)
    if {one, other} <= TEXTS or "nulls" in (one, other) or {one, other} == {"lists", "objects"}:
        found = [value for block in source.open() for value in block.rows.v]
        if {one, other} <= TEXTS:
            assert found == KINDS[one] + KINDS[other]
        assert len(found) == len(KINDS[one] + KINDS[other])
        return
    with pytest.raises(
        SourceError, match=r"part-1.jsonl holds column 'v' as [\w, =\[\]]+, but the files before as"
    ) as caught:
        list(source.open())

    assert "extension" not in str(caught.value)
    assert ("lists or objects" in str(caught.value)) == bool({"lists", "objects"} & {one, other})


def test_times_of_two_units_stay_times(tmp_path):
    """Only what is text in one file is text in all."""
    for i, time in enumerate(["9999-12-31T00:00:00", "2026-01-01T10:00:00.123456"]):
        (tmp_path / f"part-{i}.jsonl").write_text(json.dumps({"t": i, "v": time}) + "\n")
    dtypes = {str(block.rows.v.dtype) for block in replay(tmp_path / "part-*.jsonl", rate=1).open()}

    assert dtypes == {"datetime64[us]"}


# -- half characters ---------------------------------------------------------------------------------------------------

HALF = "a\ud800"


def rows(*names):
    return pd.DataFrame([[1] * len(names)], columns=pd.Index(names, dtype=object))


def made(*answers, sink=None):
    lab = Lab(replay(pd.DataFrame({"i": range(len(answers))}), rate=1), interval="1s", name="half")
    answers = iter(answers)
    lab.batch(lambda batch: next(answers))
    if sink is not None:
        lab.to(sink)
    return lab.run(clock="virtual", cost=0)


@pytest.mark.parametrize(
    "names",
    [[(HALF,), ("b",)], [("b",), (HALF,)], [(HALF,), (HALF, "b")], [(HALF,), (HALF,)], [("b", HALF), (HALF, "\udfff")]],
)
def test_output_has_columns_whose_names_are_half_characters(names, tmp_path):
    """Also where batches differ; and so it is saved."""
    run = made(*(rows(*each) for each in names))
    output = run.output

    assert list(output.columns) == ["batch_id", *dict.fromkeys(name for each in names for name in each)]
    for name in output.columns[1:]:
        assert output[name].isna().tolist() == [name not in each for each in names]
    assert list(mblab.load_run(run.save(tmp_path / "run")).output.columns) == list(output.columns)


def test_a_long_output_of_such_batches_is_joined(tmp_path):
    """Frames that are held are put together now and then."""
    run = made(*(rows(HALF) if i % 2 else rows("b") for i in range(200)))

    assert run.output[HALF].count() == 100


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "sqlite"])
def test_a_sink_says_which_name_it_cannot_write(kind, tmp_path):
    """It is the name and not a value."""
    sink = sinks.sqlite(tmp_path / "x.db", "t") if kind == "sqlite" else getattr(sinks, kind)(tmp_path / f"out.{kind}")
    with pytest.raises(SinkError, match=r"'a\\ud800' in the name of a column is half a character .*rename the column"):
        made(rows(HALF), sink=sink)


# -- charts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["run", "compared", "decisions"])
def test_a_chart_can_be_pickled_and_shows_itself_offline_afterwards(kind):
    """To a file, or to another process; by the two oldest ways no chart of Altair's comes back."""
    run = made(rows("a"), rows("a"))
    chart = {"run": run.plot, "decisions": run.plot_decisions, "compared": mblab.compare(run, run).plot}[kind]()
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        came = pickle.loads(pickle.dumps(chart, protocol))

        assert came.to_dict() == chart.to_dict()
        assert type(came) is type(chart)
        assert came._repr_mimebundle_.__module__ == "mblab.charts.offline"
