"""The README tells the truth: its programs run and print what it says, its commands are the ones that are checked."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROGRAMS = [
    (text, BLOCKS[i + 1][1]) for i, (language, text) in enumerate(BLOCKS) if language == "python"
]  # each with the block that follows it
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
SET_UP = "python3 -m venv .uv && .uv/bin/pip install -q uv && "


def test_every_program_is_followed_by_what_it_prints():
    """A Python block without its output would not be checked."""
    after = [BLOCKS[i + 1][0] for i, (language, _) in enumerate(BLOCKS) if language == "python"]

    assert after == ["text"] * len(PROGRAMS)


def test_the_programs_print_what_the_readme_says():
    """One after the other, as a reader would type them."""
    scope = {"__name__": "readme"}
    printed = []
    for text, _ in PROGRAMS:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, "README.md", "exec"), scope)
        printed.append(out.getvalue())

    assert printed == [expected for _, expected in PROGRAMS]


def test_the_first_program_is_short():
    """Twelve lines are a whole program."""
    lines = [line for line in PROGRAMS[0][0].splitlines() if line.strip()]

    assert len(lines) <= 12


TABLES = README.partition("## Coming from Spark or streamz")[2].partition("\n## ")[0]
SNIPPETS = [
    snippet
    for row in re.findall(r"^\|.*\| (.*) \|$", TABLES, re.MULTILINE)
    for snippet in re.findall(r"`([^`]+)`", row)
    if snippet != "state"  # the argument of a step
]


def test_each_snippet_of_the_migration_tables_runs(tmp_path, monkeypatch):
    """One after the other, with a source, three functions and a run at hand; what it names must be there."""
    import pandas as pd

    import mblab
    from mblab.engine.invoke import BatchContext

    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"carrier": ["AA", "UA"] * 5, "delay": range(10)})
    frame.to_json("x.jsonl", orient="records", lines=True)
    seen = []

    def keep_late(batch):
        return batch[batch["delay"] > 3]

    def count_rows(batch, state, ctx):
        seen.append(ctx.watermark)
        state["n"] = state.get("n", 0) + len(batch)
        return {"n": state["n"]}

    def publish(rows, batch_id):
        seen.append(batch_id)

    for snippet in SNIPPETS:
        source = mblab.replay(frame, rate=10)
        lab = mblab.Lab(source, interval="100ms")
        run = lab.run(clock="virtual", cost=0)
        scope = {"mblab": mblab, "frame": frame, "source": source, "lab": lab, "run": run, "fetch": list}
        scope |= {"keep_late": keep_late, "count_rows": count_rows, "publish": publish}
        scope["ctx"] = BatchContext
        exec(snippet, scope)
        lab = scope["lab"]
        if scope["source"] is source:
            lab.run("1s", clock="virtual", cost=0)

    assert len(SNIPPETS) >= 20
    assert seen


DATA = README.partition("## Your data")[2].partition("\n## ")[0]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files that the table of data names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "export.txt").write_text("t;käse;n\n0;1,5;?\n1;-;7\n", encoding="latin-1")
    (tmp_path / "zips.csv").write_text("t,zip\n0,00501\n1,10001\n")
    (tmp_path / "devices.jsonl").write_text('{"t": 0, "device": {"id": "a"}}\n')
    (tmp_path / "meter.csv").write_text("t,kwh\n2026-10-25 02:30,1\n2026-10-25 02:00,2\n")
    (tmp_path / "late.csv").write_text("t,v\n2,b\n1,a\n")
    for folder in ("in", "shop/region=eu", "shop/region=us"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "in" / "a.csv").write_text("t,zip\n0,00501\n")
    os.utime(tmp_path / "in" / "a.csv", (1e9, 1e9))  # nobody writes to it
    for region in ("eu", "us"):
        (tmp_path / "shop" / f"region={region}" / "x.csv").write_text("t,v\n0,1\n")


def test_each_line_of_the_table_of_data_gives_what_it_says(files):
    """Every call of the table, on a file of its kind."""
    import mblab

    scope, made = {"mblab": mblab}, []
    calls = [c for c in re.findall(r"`([^`]+)`", DATA) if "(" in c]
    for call in calls:
        if call.startswith("table = "):
            exec(call, scope)
            made.append(scope["table"])
        else:
            made.append(eval(call, scope))
    rows = [next(source.open()).rows for source in made if isinstance(source, mblab.sources.replayed.Replay)]

    assert len(made) == len(calls) == 8
    assert rows[0].fillna(0).to_dict("list") == {"t": [0, 1], "käse": [1.5, 0], "n": [0, 7]}
    assert next(mblab.replay(made[2], arrival="t").open()).rows.zip.tolist() == ["00501", "10001"]
    found = made[3].poller()
    assert [zips for file in found.poll() for part, _ in found.read(file) for zips in part.zip] == ["00501"]
    assert list(rows[1].columns) == ["t", "device.id"]
    assert [t / 60e9 for t in next(made[5].open()).arrival_ns] == [0, 30]
    assert rows[3].v.tolist() == ["a", "b"]
    assert rows[4].region.tolist() == ["eu", "us"]


@pytest.mark.parametrize("bad", ["sources.csv", "watch"])
def test_a_value_that_does_not_fit_is_refused_as_the_table_says(bad, files):
    """By file, column and value."""
    import mblab

    Path("in/b.csv").write_text("t,zip\n1,x\n")
    with pytest.raises(mblab.SourceError, match=r"b.csv.* has 'x' in column 'zip'"):
        if bad == "watch":
            found = mblab.watch("in/*.csv", types={"zip": "int64"}, settle=0).poller()
            [part for file in found.poll() for part in found.read(file)]
        else:
            list(mblab.replay(mblab.sources.csv("in/b.csv", types={"zip": "int64"}), arrival="t").open())


def test_the_table_of_dtypes_is_installed_with_the_package():
    """A page of the package index has no files of the project to link to."""
    from importlib.resources import files

    assert "`mblab/sinks/DTYPES.md`, which is installed" in README
    assert (files("mblab.sinks") / "DTYPES.md").is_file()
    assert "(mblab/" not in README


def test_both_commands_start_from_a_bare_checkout():
    """Each one installs what it needs; the demo and the tests differ only in their last words."""
    assert COMMANDS[:2] == [f"{SET_UP}.uv/bin/uv run mblab demo", f"{SET_UP}.uv/bin/uv run pytest"]


def test_ci_runs_the_command_for_the_tests_and_ends_with_its_closing_line():
    """What the README tells a newcomer is what CI does, word for word; pytest's closing line is CI's."""
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()]

    assert COMMANDS[1] in lines
    assert lines[lines.index(COMMANDS[1]) + 1 :][:2] == ["}", 'tests | tee "$said"']
    assert lines[-1].startswith('tail -n 1 "$said"')


def test_ci_stops_at_the_first_failure():
    """`set -euo pipefail`, and the file can be executed."""
    script = ROOT / ".ci" / "run"

    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)]+)\)", README))
def test_every_link_into_the_project_leads_somewhere(link):
    """No file is promised that is not there."""
    assert (ROOT / link).exists()


def test_every_notebook_is_listed():
    """The table names each notebook that is shipped, and no other."""
    listed = set(re.findall(r"^\| `(\d\d_\w+\.ipynb)`", README, re.MULTILINE))

    assert listed == {f.name for f in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize("file", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", ".ci/run"])
def test_no_path_of_a_machine_is_written(file):
    """What is written here holds on every machine."""
    assert not re.search(r"(?<![\w.])/(work|root|home|tmp)/", (ROOT / file).read_text(encoding="utf-8"))
