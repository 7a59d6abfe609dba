"""A pipeline becomes a script: what its functions read comes along, what cannot is refused, and the results are equal."""

import ast
import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import logging
import math
import os
import re
import runpy
import sqlite3
import subprocess
import sys
import threading
import types
import xml.etree.ElementTree  # noqa: ICN001
from fractions import Fraction
from math import sqrt as root
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab import ExportError, Lab
from mblab import script as runtime
from mblab.errors import SettingTypeError
from mblab.export import write_script
from mblab.export.texts import find_statement, moved_left, names_read
from mblab.export.values import Unwritable, ValueWriter
from mblab.testing import ListSink, rows_at

from .laws import examples

# -- what the functions below read: a notebook's cells, so to say ---------------------------------------------------

LATE = 15
SCALE = decimal.Decimal("1.5")
CARRIERS = pd.DataFrame({"carrier": ["AA", "UA"], "title": ["American", "United"]})
WEIGHTS = pd.Series([1.0, 2.0], index=["AA", "UA"], name="weight")
GRID = np.arange(1000.0)
LOCK = threading.Lock()
HOSTILE = [
    '"""',
    "'''",
    "\\",
    '"; import os; os.abort() #',
    "a\nb",
    "{x}",
    "%(prog)s %s",
    "é漢😀",
    "\r\u2028\x00\x1b[31m",
    "$(id)",
]


class Side(enum.Enum):
    EAST = "east"
    WEST = "west"


@dataclasses.dataclass(frozen=True)
class Rule:
    limit: int
    side: Side = Side.EAST


RULE = Rule(3, Side.WEST)
Point = collections.namedtuple("Point", "x y")  # noqa: PYI024
ORIGIN = Point(0, Side.EAST)


def plainly(function):
    def wrapper(*args):
        return function(*args) + LATE

    return wrapper


@plainly
def shifted(x):
    return x


@functools.cache
def is_even(n):
    return n == 0 or is_odd(n - 1)


def is_odd(n):
    return n != 0 and is_even(n - 1)


def halved(x):
    return x / 2


also_halved = halved
doubled = lambda x: 2 * x
TOOLS = {"even": is_even, "root": np.sqrt, "size": len}


def flights(rows=40):
    at = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(rows) * 250, "ms")
    return pd.DataFrame({"at": at, "carrier": ["AA", "UA", "DL", "UA"] * (rows // 4), "delay": np.arange(rows) % 30})


def replayed(data=None, **more):
    return Lab(mblab.replay(flights() if data is None else data, arrival="at", **more), interval="1s")


def exported(lab, folder, name="pipeline.py"):
    return write_script(lab.pipeline, folder / name)


def loaded(path):
    return types.SimpleNamespace(**runpy.run_path(str(path)))


def output_of(lab, duration=None):
    return lab.run(duration, clock="virtual", cost=0).output


def assert_the_script_gives_the_same(lab, folder, duration=None):
    script = loaded(exported(lab, folder))
    name = next(name for name, value in vars(script).items() if isinstance(value, Lab))

    pd.testing.assert_frame_equal(output_of(getattr(script, name), duration), output_of(lab, duration))
    return script


def body_of(path):
    return path.read_text("utf-8").split('"""\n', 2)[-1]


# -- the script ------------------------------------------------------------------------------------------------------


def test_the_script_reads_as_written_by_hand(tmp_path):
    """Imports, constants, helpers, options, lab, steps, in this order, the user's text unchanged."""
    lab = replayed()

    @lab.batch(key="carrier")
    def late(batch, state):
        # a  comment   stays
        state["n"] = state.get("n", 0) + int((batch["delay"] > LATE).sum())
        return {"carrier": batch["carrier"].iloc[0], "late": halved(state["n"])}

    assert (
        body_of(exported(lab, tmp_path))
        == """
import mblab
from mblab import script

LATE = 15


def halved(x):
    return x / 2


options = script.options(
    __name__,
    name='lab',
    interval='1s',
    input=script.beside(__file__, 'pipeline_input.parquet'),
)

lab = mblab.Lab(mblab.replay(options.input, arrival='at'), interval=options.interval)


@lab.batch(key="carrier")
def late(batch, state):
    # a  comment   stays
    state["n"] = state.get("n", 0) + int((batch["delay"] > LATE).sum())
    return {"carrier": batch["carrier"].iloc[0], "late": halved(state["n"])}


if __name__ == "__main__":
    raise SystemExit(options.run(lab))
"""
    )


def test_the_script_gives_what_the_lab_gives(tmp_path):
    """The same cuts, state and rows, whatever the policy, the cap and the chain."""
    source = mblab.replay(flights(), arrival="at", speedup=2)
    mine = Lab(source, interval="700ms", policy="skip", max_rows_per_batch=3, name="my lab", run_empty=True)

    @mine.batch
    def running(batch, state, ctx):
        state["sum"] = state.get("sum", 0) + int(batch["delay"].sum())
        return batch.assign(sum=state["sum"], first=ctx.arrivals[0] if len(batch) else -1.0)

    @mine.map
    def marked(batch):
        return batch.assign(late=batch["delay"] > LATE)

    script = assert_the_script_gives_the_same(mine, tmp_path)

    assert "policy='skip'" in (tmp_path / "pipeline.py").read_text()
    assert script.mine.pipeline.settings == mine.pipeline.settings


def test_a_simulation_brings_its_function_along(tmp_path):
    """make_rows and all it reads are captured; the seed makes the rows the same; modifiers keep theirs."""

    def make_rows(n, rng, times):
        return {"value": rng.normal(LATE, 1, n), "side": [Side.EAST.value] * n}

    source = mblab.simulate(make_rows, arrivals=mblab.arrivals.poisson(50), duration="3s", seed=7)
    lab = Lab(source.with_late(0.1, "1s").with_duplicates(0.05), interval="500ms")

    @lab.batch
    def mean(batch):
        return batch["value"].mean()

    assert_the_script_gives_the_same(lab, tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        mblab.simulate.orders(duration="3s").with_gaps("1s", ("100ms", "300ms")).with_poison(0.1, "price", "range"),
        mblab.simulate.clicks(duration="3s").with_gaps("1s", "200ms", "drop").with_poison(0.1, "page", "null"),
        mblab.simulate.requests(duration="30s").with_late(0.1, "2s"),
        mblab.replay(flights(20), arrival="at", loop=True, limit=50),
    ],
    ids=["orders", "clicks", "requests", "loop"],
)
def test_every_source_and_modifier_is_written_as_it_is(source, tmp_path):
    """With seeds and limits, so the rows are the same."""
    lab = Lab(source, interval="500ms")

    @lab.batch
    def count(batch):
        return {"rows": len(batch), "nulls": int(batch.isna().sum().sum())}

    assert_the_script_gives_the_same(lab, tmp_path)


def test_many_files_stay_an_input_with_wildcards(tmp_path, run):
    """JSONL by wildcards: the script reads what matches, and another pattern on request."""
    for i in range(3):
        flights(40).iloc[i * 10 : i * 10 + 10].to_json(
            tmp_path / f"in-{i}.jsonl", orient="records", lines=True, date_format="iso"
        )
    path = counted(tmp_path, mblab.replay(tmp_path / "in-*.jsonl", arrival="at", sort=True))

    assert "beside(__file__, 'in-*.jsonl')" in path.read_text()
    assert run(path)[1].startswith("lab: 30 rows")
    assert run(path, "--input", str(tmp_path / "in-[01].jsonl"))[1].startswith("lab: 20 rows")


def test_a_watch_is_exported_and_runs_on_the_real_clock(tmp_path, run):
    """Also with the default pace; it needs no duration, for it is stopped by hand, but --once does."""
    (tmp_path / "in").mkdir()
    flights(8).to_parquet(tmp_path / "in" / "a.parquet")
    path = counted(tmp_path, mblab.watch(tmp_path / "in" / "*.parquet", every="10ms"))

    assert "mblab.watch(options.input, every=0.01, settle=1)" in path.read_text()
    assert run(path, "--duration", "300ms", "--interval", "100ms")[1].startswith(
        "lab: 8 rows in 3 batches, p95 latency"
    )
    assert run(path, "--once")[0] == 2
    assert run(path, "--once", "--duration", "200ms")[1].startswith("lab: 8 rows in 1 batch")


def ask(position):
    """Rows above a position, with what the module around it holds."""
    return ({"n": [LATE]}, 1) if position is None else None


def test_a_polled_function_comes_along(tmp_path, run):
    """With what it reads; one without a name of its own is refused, and so is a method."""
    lab = Lab(mblab.poll(ask, every="10ms"), interval="100ms")
    path = exported(lab, tmp_path)

    assert "mblab.poll(ask, every=0.01)" in path.read_text()
    assert run(path, "--duration", "200ms")[1].startswith("lab: 1 row in 2 batches")
    for fn in (lambda: None, DataFrameMaker().make):
        with pytest.raises(ExportError):
            exported(Lab(mblab.poll(fn), interval="1s"), tmp_path)


class DataFrameMaker:
    def make(self):
        return None


def test_whatever_a_step_reads_comes_along(tmp_path):
    """Modules, objects out of modules, constants, tables, classes, enums, wrapped and mutually recursive functions."""
    lab = replayed()
    threshold = 7
    limits = {"a": [1, (2.5, None)], "b": frozenset({1, 2})}

    @lab.batch
    def everything(batch, state, rule: Rule = RULE, by=GRID[3]):
        titles = batch.merge(CARRIERS, on="carrier", how="left")["title"].fillna("none")
        tree = xml.etree.ElementTree.Element("a")
        facts = [
            LATE,
            str(SCALE),
            RULE,
            ORIGIN,
            rule.side,
            by,
            threshold,
            limits,
            shifted(1),
            is_even(4),
            also_halved(3),
        ]
        return {
            "facts": repr([*facts, doubled(2), TOOLS["even"](3), TOOLS["size"]("ab"), root(4), tree.tag, math.tau]),
            "titles": ",".join(titles),
            "numbers": float(GRID.sum() + WEIGHTS["UA"] + TOOLS["root"](9.0)),
        }

    assert_the_script_gives_the_same(lab, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "pipeline.py", "pipeline_CARRIERS.parquet", "pipeline_GRID.npy", "pipeline_WEIGHTS.parquet", "pipeline_input.parquet",
    ]  # fmt: skip


def test_steps_registered_by_a_call_are_registered_by_a_call(tmp_path):
    """lab.batch(fn), key= and name= outside a decorator, lambdas and partials."""
    lab = replayed()

    def per_key(batch, state):
        return {"carrier": batch["carrier"].iloc[0], "rows": len(batch)}

    lab.batch(key="carrier")(per_key)
    lab.map(lambda batch: batch[batch["rows"] > 0], name="some")
    lab.batch(functools.partial(first_rows, 2), name="two")
    text = exported(lab, tmp_path).read_text()

    assert "lab.batch(key='carrier')(per_key)" in text
    assert """lab.map(name='some')(lambda batch: batch[batch["rows"] > 0])""" in text
    assert "lab.batch(name='two')(functools.partial(first_rows, 2))" in text
    assert_the_script_gives_the_same(lab, tmp_path)


def first_rows(n, batch):
    return batch.head(n)


def test_a_decorator_that_no_longer_says_what_the_step_is_goes(tmp_path):
    """A function taken by two labs in two ways is exported the way of the lab that is exported."""
    one, two = replayed(), replayed()

    @one.batch(key="carrier")
    def rows(batch):
        return len(batch)

    two.batch(rows)
    text = exported(two, tmp_path).read_text()

    assert "@" not in body_of(tmp_path / "pipeline.py")
    assert "\nlab.batch(rows)\n" in text


def test_the_scripts_own_names_give_way_to_the_users(tmp_path):
    """A user's `options`, `script`, `lab` or `datetime` stays what it is."""
    lab = replayed()
    options, script, datetime, pd = 1, 2, 3, 4  # noqa: F811
    when = dt.datetime(2026, 1, 1)

    def step(batch):
        return {"sum": options + script + datetime + pd, "when": str(when)}

    lab.batch(step)
    made = assert_the_script_gives_the_same(lab, tmp_path)

    assert (made.options, made.script, made.datetime, made.pd) == (1, 2, 3, 4)


def test_a_speedup_moved_by_hand_stays(tmp_path):
    """lab.speedup is a setting of the lab and not of its source."""
    lab = replayed()
    lab.batch(halved_delays)
    lab.speedup = 3

    assert_the_script_gives_the_same(lab, tmp_path)


def halved_delays(batch):
    return batch.assign(delay=halved(batch["delay"]))


def test_a_global_is_taken_as_it_is_now(tmp_path, monkeypatch):
    """Values changed and helpers redefined after the step was defined count."""
    lab = replayed()

    @lab.batch
    def late(batch):
        return int((batch["delay"] > LATE).sum())

    monkeypatch.setattr(sys.modules[__name__], "LATE", 3)

    assert loaded(exported(lab, tmp_path)).LATE == 3


def test_a_lab_without_a_step_is_exported_too(tmp_path):
    """The rows go through as they are."""
    assert_the_script_gives_the_same(replayed(), tmp_path)


def test_an_interval_is_exact_to_the_nanosecond(tmp_path):
    """No rounding through float seconds."""
    lab = replayed()
    lab.interval = pd.Timedelta(1_000_000_001, "ns")

    assert loaded(exported(lab, tmp_path)).lab.pipeline.settings.interval_ns == 1_000_000_001


# -- what cannot be written -------------------------------------------------------------------------------------------


def refusal(lab, folder):
    with pytest.raises(ExportError) as caught:
        exported(lab, folder)
    assert not list(folder.iterdir())
    return str(caught.value)


def test_a_live_object_is_refused_by_name_type_and_line(tmp_path):
    """An ExportError says what, where, and the way on; nothing is written."""
    lab = replayed()

    @lab.batch
    def guarded(batch):
        with LOCK:
            return len(batch)

    line = guarded.__code__.co_firstlineno + 2
    message = refusal(lab, tmp_path)

    assert f"guarded reads 'LOCK' in line {line}, a _thread.lock" in message
    assert "create it inside the function" in message


def test_an_undefined_name_is_refused_with_a_hint(tmp_path):
    """A name that is nowhere is said, with the nearest one that is."""
    lab = replayed()

    @lab.batch
    def late(batch):
        return int((batch["delay"] > LATEE).sum())  # noqa: F821

    assert "reads 'LATEE'" in (message := refusal(lab, tmp_path))
    assert "did you mean 'LATE'" in message


def test_a_helper_that_reads_a_live_object_is_refused_in_its_own_line(tmp_path):
    """The chain of helpers is followed to its end."""
    lab = replayed()

    @lab.batch
    def step(batch):
        return through(len(batch))

    assert f"through reads 'LOCK' in line {through.__code__.co_firstlineno + 1}" in refusal(lab, tmp_path)


def through(x):
    return x if LOCK else 0


@pytest.mark.parametrize(
    "value",
    [
        open(os.devnull),  # noqa: SIM115
        object(),
        (x for x in "ab"),
        np.random.default_rng(0),
        [lambda x: x],
        "x" * 300_000,
        10**5000,
        np.array([object()] * 99),
        type("Sub", (str,), {"__repr__": lambda self: "__import__('os').abort()"})("x"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_a_value_without_a_text_is_refused(tmp_path, value):
    """Never half a script, never the text of somebody else's __repr__."""
    lab = replayed()

    def step(batch):
        return value

    lab.batch(step)

    assert "step reads 'value'" in refusal(lab, tmp_path)


def test_a_list_that_contains_itself_is_refused(tmp_path):
    """It has no text."""
    loop = []
    loop.append(loop)
    lab = replayed()
    lab.batch(lambda batch: len(loop))

    assert "contains itself" in refusal(lab, tmp_path)


def test_what_a_function_keeps_outside_itself_is_refused(tmp_path):
    """nonlocal cannot stand at the top of a script; the message points at state."""
    lab, count = replayed(), 0

    @lab.batch
    def counting(batch):
        nonlocal count
        count += 1
        return count

    assert "`state`" in refusal(lab, tmp_path)


def test_a_name_cannot_mean_two_things(tmp_path):
    """Two functions that read different globals of one name are refused, not merged."""

    def factory(limit):
        return lambda batch: batch[batch["delay"] > limit]

    lab = replayed()
    lab.batch(factory(1), name="one")
    lab.batch(factory(2), name="two")

    assert "'limit' is 1, not 2" in refusal(lab, tmp_path)


def test_a_notebooks_magic_is_refused(tmp_path):
    """Text made of `%time` reads get_ipython, which no script has."""
    lab = replayed()
    world = {"lab": lab, "__name__": "__main__"}
    text = "@lab.batch\ndef step(batch):\n    get_ipython().run_line_magic('time', '1')\n    return 1\n"
    cell(text, world)

    assert "reads 'get_ipython' in line 3" in refusal(lab, tmp_path)


def test_a_source_or_sink_without_code_is_refused(tmp_path):
    """A test's own source has no text; a sink that only keeps rows in memory is left out."""
    lab = replayed()
    lab.to(ListSink())

    assert "lab.to" not in exported(lab, tmp_path / ".." / tmp_path.name).read_text()
    with pytest.raises(ExportError, match="use mblab.replay"):
        exported(Lab(rows_at([0.0])), tmp_path)


# -- cells of a notebook ------------------------------------------------------------------------------------------------


def cell(text, world, number=[0]):
    """Run a text as IPython runs a cell: its lines are in linecache, the text in In."""
    import linecache

    number[0] += 1
    name = f"<cell {number[0]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    world.setdefault("In", []).append(text)
    exec(compile(text, name, "exec"), world)


def test_cells_are_a_module_of_their_own(tmp_path):
    """Functions and classes come from the cell that was run last, classes without methods too."""
    world = {"__name__": "__main__", "mblab": mblab, "flights": flights}
    cell(
        "import enum\nfrom dataclasses import dataclass\nlab = mblab.Lab(mblab.replay(flights(), arrival='at'), interval='1s')",
        world,
    )
    cell("class Kind(enum.Enum):\n    OLD = 1\n\ndef helper(x):\n    return 'old'", world)
    cell("@dataclass\nclass Setup:\n    limit: int = 4\n", world)
    cell(
        "@lab.batch\ndef step(batch):\n    return {'kind': Kind.NEW.name, 'limit': Setup().limit, 'help': helper(1)}",
        world,
    )
    cell("x = 1\n\nclass Kind(enum.Enum):\n    NEW = 2\n\ndef helper(x):\n    return 'new'", world)
    script = assert_the_script_gives_the_same(world["lab"], tmp_path)

    assert script.Kind.NEW.value == 2
    assert output_of(script.lab)["help"].iloc[0] == "new"


def test_annotations_that_are_not_evaluated_need_no_names(tmp_path):
    """With `from __future__ import annotations` the script has it too, and unknown names in annotations stay text."""
    world = {"__name__": "__main__", "mblab": mblab, "flights": flights}
    cell("from __future__ import annotations\nlab = mblab.Lab(mblab.replay(flights(), arrival='at'))", world)
    cell(
        "from __future__ import annotations\n@lab.batch\ndef step(batch: Frame) -> Rows:\n    return len(batch)", world
    )
    # the future import belongs to the notebook, not to the step's text
    script = assert_the_script_gives_the_same(world["lab"], tmp_path)

    assert script.step.__annotations__ == {"batch": "Frame", "return": "Rows"}


# -- names and texts -----------------------------------------------------------------------------------------------------


def read_early(text):
    return {name for name, read in names_read(text).items() if read.early}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def f(b):\n    return f(b - 1)", ""),
        ("def f(b):\n    import json\n    return json.dumps(b)", ""),
        ("def f(b):\n    global n\n    n += 1", "n"),
        ("def f(b):\n    global n\n    n = 1", ""),
        ("def f(b):\n    return [x for x in b if (y := x) > z]", "z"),
        (
            "def f(b):\n    class C(Base, metaclass=M):\n        a = V\n        def g(self): return W\n    return C",
            "Base M V W",
        ),
        ("def f(b):\n    def g(): return h + b\n    return g", "h"),
        ("def f(b, *, c=D) -> R:\n    x: T = U\n    return x", "D R T U"),
        ("@deco(arg)\ndef f(b): return b", "arg deco"),
        ("def f(list): return list", ""),
        ("class A(B):\n    x: T = y\n    def g(self): return z", "B T y z"),
        ("lambda b, c=D: b + E", "D E"),
        ("def f(b):\n    try: pass\n    except Err as e: raise e", "Err"),
        ("def f(b):\n    match b:\n        case K(x=V.a) as y: return y", "K V"),
        ("def f(b):\n    return f'{q!r:>{w}}'", "q w"),
        ("def f(b):\n    del b\n    return (lambda b: b + k)(1)", "k"),
    ],
)
def test_the_names_a_text_reads_from_outside(text, names):
    """Scopes are Python's own: symtable decides, not a guess."""
    assert sorted(names_read(text)) == sorted(names.split())


def test_names_needed_when_a_text_is_executed_are_told_apart():
    """Decorators, defaults, bases and class bodies are early; what a body reads is late."""
    assert read_early("@a\ndef f(b, c=d): return e") == {"a", "d"}
    assert read_early("class A(B):\n    x = [y for _ in z]\n    def g(self, h=i): return j") == {"B", "y", "z", "i"}


def test_moving_a_text_left_never_changes_a_string():
    """A string of several lines holds its indentation: such a text is not moved."""
    assert moved_left("    def f():\n        return 1\n") == "def f():\n    return 1\n"
    assert moved_left('    def f():\n        return """\n        x"""\n') is None


def test_the_last_definition_of_a_name_in_a_text_is_found():
    """With its decorators, whatever follows on later lines."""
    found = find_statement("def f(): return 1\n\n@a\n@b\ndef f():\n    return 2\nx = 1", "f")

    assert found.text == "@a\n@b\ndef f():\n    return 2"
    assert found.line == 3


def write_value(value):
    modules = {}

    def module(name):
        modules[name.replace(".", "_")] = sys.modules[name]
        return name.replace(".", "_")

    text = ValueWriter(module, lambda part: None).code(value)
    return text, eval(text, modules)


VALUES = [
    dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC), dt.date(2026, 1, 1), dt.time(1, 2, 3, 4), dt.timedelta(-1, 2, 3),
    dt.datetime(2026, 10, 25, 2, 30, fold=1), dt.timezone(dt.timedelta(hours=2)), decimal.Decimal("NaN"), Fraction(1, 3),
    pd.Timestamp("2026-10-25 02:30", tz="UTC").tz_convert("Europe/Berlin"), pd.Timestamp(1, unit="ns"), pd.Timedelta(-1, "ns"),
    pd.Timestamp("2026-01-01").as_unit("s"), np.float32(0.1), np.int8(-3), np.bool_(True), np.str_("a'"), np.datetime64("NaT", "s"),
    np.datetime64("2026-01-01T01", "h"), np.timedelta64(5, "ms"), np.dtype("<i4"), Path("a'b/\n"), re.compile(r"a\d'\"", re.I | re.M),
    re.compile(b"\xff"), range(1, 9, 2), slice(None, 3), b"\x00\xff", bytearray(b"a"), float("inf"), -0.0, complex(0, float("-inf")),
    np.array([1, 2], "int16"), set(), frozenset(), (1,), (), {}, ..., logging.getLogger("a.b"), 1e308, 2**70,
]  # fmt: skip


@pytest.mark.parametrize(
    "value", VALUES, ids=lambda v: f"{type(v).__name__} {v!s:.12}".encode("unicode_escape").decode()
)
def test_a_value_reads_back_as_itself(value):
    """Same type, same value, and the text of what was read is the same text."""
    text, again = write_value(value)

    assert type(again) is type(value)
    assert repr(again) == repr(value)
    assert write_value(again)[0] == text


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)


@examples(500)
@given(plain)
def test_any_plain_value_reads_back_as_itself(value):
    """Whatever is in a string, it stays in the string."""
    text, again = write_value(value)

    assert repr(again) == repr(value)
    assert len(ast.parse(text).body) == 1


def test_only_exact_types_are_written():
    """A subclass's own __repr__ never gets into the script."""
    Sly = type("Sly", (int,), {"__repr__": lambda self: "print('owned')"})

    with pytest.raises(Unwritable):
        write_value([Sly(1)])


# -- files ---------------------------------------------------------------------------------------------------------------


def test_only_what_mblab_exported_is_replaced(tmp_path):
    """A script of ours may be written again; a user's file, a folder and a missing folder are refused by name."""
    lab = replayed()
    lab.batch(halved_delays)
    path = exported(lab, tmp_path)
    before = path.read_text()
    (tmp_path / "mine.py").write_text("print('mine')\n")
    (tmp_path / "other_input.parquet").write_text("mine")

    assert exported(lab, tmp_path).read_text() == before
    for name, why in [
        ("mine.py", "was not exported"),
        ("no/such.py", "does not exist"),
        ("", "is a folder"),
        ("a\0b", "no path"),
        ("x" * 300, "no path"),
    ]:
        with pytest.raises(ExportError, match=why):
            exported(lab, tmp_path, name)
    with pytest.raises(ExportError, match=r"other_input.parquet' exists"):
        exported(lab, tmp_path, "other.py")
    with pytest.raises(SettingTypeError, match="path must be"):
        write_script(lab.pipeline, 3)
    assert (tmp_path / "mine.py").read_text() == "print('mine')\n"
    assert (tmp_path / "other_input.parquet").read_text() == "mine"
    assert not (tmp_path / "other.py").exists()


def test_a_refused_export_leaves_the_old_script(tmp_path):
    """Files are put in place in one move, after all has been checked."""
    lab = replayed()
    lab.batch(halved_delays)
    before = exported(lab, tmp_path).read_text()
    lab.batch(lambda batch: LOCK, name="locked")

    with pytest.raises(ExportError):
        exported(lab, tmp_path)
    assert (tmp_path / "pipeline.py").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pipeline.py", "pipeline_input.parquet"]


def test_a_table_that_would_come_back_different_is_refused(tmp_path):
    """Parquet has no whole seconds: the message names the column and both dtypes."""
    rows = flights()
    rows["second"] = rows["at"].dt.as_unit("s")
    lab = replayed(rows)

    with pytest.raises(ExportError, match=r"'second' is datetime64\[s\] and comes back as datetime64\[ms\]"):
        exported(lab, tmp_path)


def test_a_frame_over_50_mb_makes_the_input_required(tmp_path, monkeypatch):
    """The script asks for --input; nothing is written beside it."""
    monkeypatch.setattr("mblab.export.parts.MAX_TABLE_BYTES", 100)
    path = exported(replayed(), tmp_path)

    assert "input=None" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["pipeline.py"]


def test_an_input_below_the_scripts_folder_moves_with_it(tmp_path):
    """Its path is relative to the script; another one is absolute."""
    (tmp_path / "here" / "data").mkdir(parents=True)
    inside, outside = tmp_path / "here" / "data" / "f.parquet", tmp_path / "f.parquet"
    for file in (inside, outside):
        flights().to_parquet(file)

    assert "beside(__file__, 'data/f.parquet')" in exported(replayed(inside), tmp_path / "here").read_text()
    assert f"input={str(outside)!r}" in exported(replayed(outside), tmp_path / "here").read_text()


# -- what it needs -------------------------------------------------------------------------------------------------------


def header_of(path):
    import tomllib

    block = path.read_text().split("# ///\n")[0].split("\n")[1:-1]
    return tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in block))


def test_the_header_pins_what_the_text_imports_and_nothing_else(tmp_path):
    """PEP 723: the versions installed here, imports inside functions too, and where mblab came from."""
    lab = replayed()

    @lab.batch
    def step(batch):
        import tenacity

        return root(len(batch)) if tenacity else 0

    header = header_of(exported(lab, tmp_path))

    assert [d.partition("==")[0] for d in header["dependencies"]] == ["mblab", "tenacity"]
    assert f"mblab=={mblab.__version__}" in header["dependencies"]
    assert header["requires-python"] == ">=3.11"


@pytest.mark.parametrize(
    ("facts", "table"),
    [
        ({"url": "file:///a%20b/c", "dir_info": {"editable": True}}, {"path": "/a b/c", "editable": True}),
        ({"url": "file:///a/m.whl", "archive_info": {}}, {"path": "/a/m.whl"}),
        ({"url": "https://x.org/m.whl", "archive_info": {}}, {"url": "https://x.org/m.whl"}),
        (
            {"url": "https://x.org/m.git", "vcs_info": {"vcs": "git", "commit_id": "ab"}},
            {"git": "https://x.org/m.git", "rev": "ab"},
        ),
        (None, None),
    ],
)
def test_where_a_package_came_from_is_told_to_uv(tmp_path, monkeypatch, facts, table):
    """PEP 610's direct_url.json becomes [tool.uv.sources]; a registry needs no word."""
    monkeypatch.setattr("importlib.metadata.Distribution.read_text", lambda self, name: None)
    monkeypatch.setattr(
        "importlib.metadata.PathDistribution.read_text", lambda self, name: json.dumps(facts) if facts else None
    )

    from mblab.export.needs import _origin_of

    text = _origin_of("mblab")
    import tomllib

    assert (text and tomllib.loads(f"mblab = {text}")["mblab"]) == table


def test_a_users_module_must_lie_beside_the_script(tmp_path, monkeypatch):
    """Otherwise the script would not find it; the message says who reads it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "my_own_tools.py").write_text("def tool(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path / "here")
    import my_own_tools

    lab = replayed()

    @lab.batch
    def step(batch):
        return my_own_tools.tool(len(batch))

    with pytest.raises(ExportError, match="step reads 'my_own_tools' in line .* neither installed nor beside"):
        exported(lab, tmp_path)
    assert_the_script_gives_the_same(lab, tmp_path / "here")


# -- hostile text ----------------------------------------------------------------------------------------------------------


class Blank(ast.NodeTransformer):
    def visit_Constant(self, node):
        return ast.Constant(0)


def shape_of(path):
    tree = ast.parse(path.read_text("utf-8"))
    return ast.dump(Blank().visit(tree)), len(re.findall(r"^# ", path.read_text("utf-8"), re.M))


def hostile_lab(text, folder):
    name = text.replace("/", "").replace("\0", "")
    flights().to_parquet(folder / f"{name}.parquet")
    lab = Lab(mblab.replay(folder / f"{name}.parquet", arrival="at"), interval="1s", name=f"x{text}")

    def column(batch):
        return {WORD["word"] + text: len(batch)}

    lab.batch(column, name=text)
    return lab


WORD = {"word": ""}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_paths_and_values_stay_text(tmp_path, monkeypatch, text):
    """The tree of the script is that of a harmless one, but for its constants; it runs and gives the same."""
    (tmp_path / "data").mkdir()
    harmless = shape_of(exported(hostile_lab("plain", tmp_path / "data"), tmp_path))
    monkeypatch.setitem(WORD, "word", text)
    lab = hostile_lab(text, tmp_path / "data")
    path = exported(lab, tmp_path, f"{text.replace(chr(0), '').replace('/', '')}.py")

    assert shape_of(path) == harmless
    pd.testing.assert_frame_equal(output_of(loaded(path).lab), output_of(lab))


# -- the command line ------------------------------------------------------------------------------------------------------


def command(path, *arguments, monkeypatch, capsys):
    """Run a script in this process as if it were started by hand: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    out = capsys.readouterr()
    return ended.value.code, out.out, out.err


@pytest.fixture
def run(monkeypatch, capsys):
    return functools.partial(command, monkeypatch=monkeypatch, capsys=capsys)


def counted(folder, source=None):
    lab = replayed() if source is None else Lab(source, interval="1s")

    @lab.batch
    def count(batch):
        return len(batch)

    return exported(lab, folder)


def test_the_script_prints_one_line_and_the_head_of_its_output(tmp_path, run):
    """Without a file to write to, people still see something."""
    code, out, _ = run(counted(tmp_path))

    assert code == 0
    assert out.splitlines()[0] == "lab: 40 rows in 10 batches"
    assert out.splitlines()[1].split() == ["batch_id", "count"]


def test_json_is_one_object_on_stdout(tmp_path, run):
    """The run's summary, with null for what is not a number."""
    code, out, _ = run(counted(tmp_path), "--json", "--interval", "2500ms")
    facts = json.loads(out)

    assert code == 0
    assert (facts["name"], facts["rows"], facts["batches"], facts["output"]) == ("lab", 40, 4, None)


def test_duration_once_and_pace(tmp_path, run):
    """A duration cuts the run short, --once makes one batch, replay runs on the wall clock."""
    path = counted(tmp_path)

    assert run(path, "--duration", "3s")[1].startswith("lab: 12 rows in 3 batches")
    assert run(path, "--once")[1].startswith("lab: 40 rows in 1 batch\n")
    assert run(path, "--once", "--duration", "2s")[1].startswith("lab: 8 rows in 1 batch\n")
    assert re.match(
        r"lab: \d rows? in 2 batches, p95 latency",
        run(path, "--pace", "replay", "--duration", "200ms", "--interval", "100ms")[1],
    )


def test_input_replaces_the_source(tmp_path, run):
    """Another file of the same columns; one that is not there is wrong use."""
    path = counted(tmp_path)
    flights(8).to_parquet(tmp_path / "other.parquet")

    assert run(path, "--input", str(tmp_path / "other.parquet"))[1].startswith("lab: 8 rows in 2 batches")
    assert run(path, "--input", "no.parquet")[::2] == (2, ANY_END("there is no file 'no.parquet'\n"))


class ANY_END(str):
    """Equal to any text that ends like this."""

    def __eq__(self, other):
        return other.endswith(str(self))

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--interval", "5"], "'5' is no time of 1 ms or more"),
        (["--interval", "0ms"], "'0ms' is no time of 1 ms or more"),
        (["--pace", "fast"], "invalid choice: 'fast'"),
        (["--once", "--pace", "replay"], "does not go with --pace replay"),
        (["--output", "x"], "unrecognized arguments: --output"),
        (["--checkpoint", "x"], "unrecognized arguments: --checkpoint"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(tmp_path, run, arguments, sentence):
    """--output is not there when no sink writes to a path."""
    code, out, err = run(counted(tmp_path), *arguments)

    assert (code, out) == (2, "")
    assert sentence in err


def test_an_endless_source_needs_a_duration(tmp_path, run):
    """One sentence, exit code 2; with one it runs."""
    path = counted(tmp_path, mblab.simulate.sensors(rate=50, duration=None))
    code, out, err = run(path)

    assert (code, out) == (2, "")
    assert err == "error: this source never ends by itself: give --duration, for example --duration 10min.\n"
    assert run(path, "--duration", "2s")[0] == 0


def test_a_failing_step_is_a_sentence_with_its_line(tmp_path, run):
    """Exit code 1, no traceback from inside mblab; the line is the script's."""
    lab = replayed()

    @lab.batch
    def broken(batch):
        return batch["carier"]

    path = exported(lab, tmp_path)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "carier" in text)
    code, out, err = run(path)

    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert f"line {line}" in err
    assert "Traceback" not in err


def test_an_interrupted_run_ends_with_130(tmp_path, run):
    """As a shell expects of Ctrl-C."""
    lab = replayed()

    @lab.batch
    def stopping(batch):
        raise KeyboardInterrupt

    assert run(exported(lab, tmp_path))[0] == 130


def test_help_shows_every_option_and_the_exit_codes(tmp_path, run):
    """Also with a per cent sign in a path, which argparse would format."""
    (tmp_path / "a%sb").mkdir()
    code, out, _ = run(counted(tmp_path / "a%sb"), "-h")

    assert code == 0
    for word in ("--interval", "--duration", "--input", "--pace", "--once", "--json", "a%sb", "130 interrupted"):
        assert word in out


def test_an_imported_script_takes_no_arguments(tmp_path, monkeypatch):
    """Importing gives the lab with its defaults, ready to run, whatever the command line."""
    monkeypatch.setattr(sys, "argv", ["pytest", "--interval", "nonsense"])
    hook = sys.excepthook
    script = loaded(counted(tmp_path))

    assert script.options == runtime.Options(name="lab", interval="1s", input=str(tmp_path / "pipeline_input.parquet"))
    assert len(output_of(script.lab)) == 10
    assert sys.excepthook is hook


# -- in a process of its own -----------------------------------------------------------------------------------------------


def start(path, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-W", "error", str(path), *arguments], capture_output=True, text=True, cwd=cwd
    )


def test_a_fresh_process_writes_what_the_lab_writes(tmp_path):
    """The whole way: a lab with a file sink, its script started elsewhere, the same rows in --output."""
    data = tmp_path / "flights.parquet"
    flights().to_parquet(data)
    lab = replayed(data)

    @lab.batch(key="carrier")
    def late(batch, state):
        state["late"] = state.get("late", 0) + int((batch["delay"] > LATE).sum())
        return {"carrier": batch["carrier"].iloc[0], "late": state["late"], "even": is_even(state["late"])}

    lab.to(mblab.sinks.csv(tmp_path / "by_lab.csv"))
    path = exported(lab, tmp_path)
    run = lab.run(clock="virtual", cost=0)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = start(path, "--output", "by_script.csv", cwd=elsewhere)

    assert (done.returncode, done.stdout) == (0, "lab: 40 rows in 10 batches → by_script.csv\n"), done.stderr
    assert (elsewhere / "by_script.csv").read_bytes() == (tmp_path / "by_lab.csv").read_bytes()
    assert len(run.output) > 10


@pytest.mark.parametrize("mode", [None, "append"])
def test_a_script_writes_into_the_same_kinds_of_sink(tmp_path, mode):
    """JSON lines and a database's table are written as code, with table and mode; `--output` moves the only path."""
    data = tmp_path / "flights.parquet"
    flights().to_parquet(data)
    for sink in (
        mblab.sinks.jsonl(tmp_path / "lab.jsonl", mode),
        mblab.sinks.sqlite(tmp_path / "lab.db", "late", mode),
    ):
        lab = replayed(data)
        lab.to(sink)
        path = exported(lab, tmp_path)
        lab.run(clock="virtual", cost=0)
        output = f"script.{sink.kind}"
        done = start(path, "--output", output, cwd=tmp_path)

        assert done.returncode == 0, done.stderr
        assert f"lab.to({sink.code('options.output')})" in path.read_text()
        if sink.kind == "jsonl":
            assert (tmp_path / output).read_bytes() == (tmp_path / "lab.jsonl").read_bytes()
            continue
        found = []
        for name in (output, "lab.db"):
            with contextlib.closing(sqlite3.connect(tmp_path / name)) as connection:
                found.append(connection.execute("SELECT * FROM late").fetchall())
        assert len(found[0]) == 40
        assert found[0] == found[1]


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path):
    """Also what mblab raises while the script is being put together is no traceback."""
    path = counted(tmp_path)
    (tmp_path / "bad.parquet").write_text("no parquet")
    done = start(path, "--input", str(tmp_path / "bad.parquet"))

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_runtime_imports_nothing_heavy():
    """A script starts as fast as the loop by hand: no parquet, no charts, no capture before they are needed."""
    code = "import sys; from mblab import script; print(*sorted(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )

    assert not loaded & {
        "pyarrow.parquet",
        "altair",
        "typer",
        "IPython",
        "mblab.export",
        "mblab.export.capture",
        "tqdm",
        "importlib.metadata",
    }
