"""What a script is made of is what the notebook has: a text that gives something else by now is refused, or mended."""

import runpy
import sys
import types
from importlib import metadata

import pandas as pd
import pytest

import mblab
from mblab import ExportError, Lab

BEGIN = """
import dataclasses, enum, functools, re, abc, pandas as pd, mblab
lab = mblab.Lab(mblab.replay(pd.DataFrame({'v': [1, 2, 3]}), rate=1), interval='9s', name='faithful')
"""


@pytest.fixture(autouse=True, scope="module")
def installed():
    """Look once which packages there are: that takes longer than all else here."""
    found = metadata.packages_distributions()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "packages_distributions", lambda: found)
        yield


def run_cell(text, world, magic=None, number=[0]):
    """Run a text as IPython runs a cell; one with a magic such as %%time is compiled under that one's name."""
    import linecache

    number[0] += 1
    name = magic and {"time": "<timed exec>", "prun": "<string>"}.get(magic, f"<magic-{magic}>")
    if name is None:
        name = f"<faithful {number[0]}>"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    world["In"].append(text if magic is None else f"get_ipython().run_cell_magic({magic!r}, '', {text!r})\n")
    exec(compile(text, name, "exec"), world)


@pytest.fixture
def notebook():
    """A module `__main__` of cells."""
    before, main = sys.modules["__main__"], types.ModuleType("__main__")
    main.In = []
    sys.modules["__main__"] = main
    run_cell(BEGIN, vars(main))
    yield main
    sys.modules["__main__"] = before


def output_of(lab):
    return lab.run(clock="virtual", cost=0).output


def equal(notebook, folder, *cells):
    """Run cells, export, and hold the script's output against the lab's; return the script's text."""
    for text in cells:
        run_cell(text, vars(notebook))
    path = notebook.lab.export(folder / "p.py")
    script = next(v for v in runpy.run_path(str(path)).values() if isinstance(v, Lab))

    pd.testing.assert_frame_equal(output_of(script), output_of(notebook.lab))
    return path.read_text()


def refused(notebook, folder, *cells):
    """Run cells and return the one sentence that export has against them."""
    for text in cells:
        run_cell(text, vars(notebook))
    with pytest.raises(ExportError) as caught:
        notebook.lab.export(folder / "p.py")

    assert list(folder.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- methods ----------------------------------------------------------------------------------------------------------

PLAIN_CLASS = """
class M:
    W = 2
    def __init__(self, n): self.n = n
    def __call__(self, batch): return {"n": self.n}
    def go(self, batch): return {"n": len(batch) * self.n * M.W}
    @classmethod
    def of_class(cls, batch): return {"n": len(batch) * cls.W}
    @staticmethod
    def alone(batch): return {"n": len(batch)}
"""
DATA_CLASS = """
@dataclasses.dataclass
class D:
    n: int = 1
    seen: list = dataclasses.field(default_factory=list)
    def go(self, batch):
        self.seen.append(len(batch))
        return {"n": len(batch) * self.n, "seen": len(self.seen)}
    def __call__(self, batch): return {"called": self.n}
"""


@pytest.mark.parametrize(
    ("made", "step"),
    [
        (PLAIN_CLASS, "M.of_class"),
        (PLAIN_CLASS, "M(3).of_class"),
        (PLAIN_CLASS, "M.alone"),
        (DATA_CLASS, "D(3).go"),
        (DATA_CLASS, "D(3, [1, 2]).go"),
        (DATA_CLASS, "D(3)"),
        ("def f(k, batch): return {'k': k}", "functools.partial(f, 3)"),
        ("", "len"),
        ("", "pd.DataFrame.describe"),
    ],
)
def test_a_method_or_object_is_written_as_it_is(made, step, notebook, tmp_path):
    """B06: a class's method, and those of an object that has a text."""
    equal(notebook, tmp_path, made, f"lab.batch({step}, name='n')")


@pytest.mark.parametrize("step", ["M(3).go", "M(3)"])
def test_a_method_of_an_object_without_a_text_is_refused_by_name(step, notebook, tmp_path):
    """B06: it would be called with the batch as `self`."""
    said = refused(notebook, tmp_path, PLAIN_CLASS, f"lab.batch({step})")

    assert said.startswith("step '")
    assert "define it with def" in said


def test_an_object_with_more_than_its_fields_is_refused(notebook, tmp_path):
    """B06's sibling: what was set on it beside its fields would be lost."""
    cells = DATA_CLASS, "d = D(3)\nd.extra = 1", "@lab.batch\ndef f(batch): return {'e': d.extra}"

    assert "with 'extra' beside its fields" in refused(notebook, tmp_path, *cells)


# -- what has changed since -------------------------------------------------------------------------------------------

CHANGED = {
    "a default's name": ("K = [3]\ndef f(b, *, k=K): return {'k': k[0]}", "K = [9]", "lab.batch(f)", "default k is [3] now"),
    "a default in place": ("def h(x, acc=[]):\n    acc.append(x)\n    return len(acc)", "h(1); h(2)", "@lab.batch\ndef f(b): return h(1)",
                           "default acc is [1, 2] now, while its text says []"),
    "a default of a lambda": ("K = 3", "f = lambda b, k=K: {'k': k}\nlab.batch(f, name='f')", "K = 4", "default k is 3 now"),
    "__defaults__": ("def f(b, s=1): return {'s': s}", "f.__defaults__ = (2,)", "lab.batch(lambda b: f(b), name='g')", "default s is 2"),
    "no defaults": ("def f(b, s=1): return {'s': s}", "f.__defaults__ = None", "lab.batch(lambda b: f(b, 1), name='g')", "defaults"),
    "a class attribute": (PLAIN_CLASS, "M.W = 5", "@lab.batch\ndef f(b): return {'w': M.W}", "whose W is 5 now, while its text says 2"),
    "one in place": ("class A:\n    seen = []", "A.seen.append(1)", "@lab.batch\ndef f(b): return {'n': len(A.seen)}", "whose seen is [1]"),
    "one beside": ("class A:\n    pass", "A.extra = 1", "@lab.batch\ndef f(b): return {'n': A.extra}", "attribute 'extra'"),
    "one gone": ("class A:\n    x = 1", "del A.x", "@lab.batch\ndef f(b): return {'n': hasattr(A, 'x')}", "whose x is gone"),
    "a method": (PLAIN_CLASS, "M.alone = staticmethod(lambda b: 7)", "@lab.batch\ndef f(b): return {'n': M.alone(b)}", "alone was replaced"),
    "a method beside": ("class A:\n    pass", "def go(self): return 1\nA.__call__ = go", "@lab.batch\ndef f(b): return A()()", "'__call__'"),
    "a method's default": ("class A:\n    def go(self, acc=[]):\n        acc.append(1)\n        return len(acc)", "A().go()",
                           "@lab.batch\ndef f(b): return A().go()", "go is a function whose default acc is [1]"),
    "a property": ("class P:\n    @property\n    def x(self): return 1", "P.x = property(lambda self: 2)",
                   "@lab.batch\ndef f(b): return P().x", "whose x was replaced"),
    "a class in a class": ("class P:\n    class Q:\n        z = 1", "P.Q.z = 2", "@lab.batch\ndef f(b): return P.Q.z",
                           "in which Q is a class whose z is 2 now"),
    "a member of an enum": ("class E(enum.Enum):\n    A = 1", "E.A.more = 3", "@lab.batch\ndef f(b): return E.A.more", "attribute 'more'"),
    "below a metaclass": ("class Meta(type):\n    y = 1\nclass A(metaclass=Meta): pass", "A.z = 3", "@lab.batch\ndef f(b): return A.z", "'z'"),
    "a base's attribute": ("class A:\n    x = 1\nclass B(A): pass", "A.x = 2", "@lab.batch\ndef f(b): return B.x", "whose x is 2 now"),
    "a field": (DATA_CLASS, "D.n = 4", "@lab.batch\ndef f(b): return D.n", "whose n is 4 now"),
    "registered": ("@functools.singledispatch\ndef g(x): return 'any'", "@g.register\ndef _(x: int): return 'int'",
                   "@lab.batch\ndef f(b): return g(3)", "others are registered (int)"),
    "a function's attribute": ("def h(): return h.k", "h.k = 4", "@lab.batch\ndef f(b): return h()", "the attribute 'k'"),
    "a cached one's": ("@functools.cache\ndef h(): return 1", "h.k = 4", "@lab.batch\ndef f(b): return h.k", "the attribute 'k'"),
    "a step's attribute": ("@lab.batch\ndef f(b): return f.k", "f.k = 4", "", "the attribute 'k'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGED)
def test_what_is_another_one_than_its_text_is_refused(kind, notebook, tmp_path):
    """B07: the script would have what the text says."""
    *cells, said = CHANGED[kind]

    assert said in refused(notebook, tmp_path, *cells)


UNCHANGED = {
    "defaults": "K = [3]\ndef f(b, k=K, *, m={'a': (1, -2)}, t=pd.Timestamp('2026'), nan=float('nan')): return {'k': k[0]}\nlab.batch(f)",
    "a call of one's own": "def make(): return [1]\ndef f(b, k=make()): return {'k': k[0]}\nlab.batch(f)",
    "a class": PLAIN_CLASS + "@lab.batch\ndef f(b): return M(2).go(b)",
    "a data class": DATA_CLASS + "@lab.batch\ndef f(b): return D(2).go(b)",
    "slots": "@dataclasses.dataclass(slots=True)\nclass S:\n    x: int = 4\n@lab.batch\ndef f(b): return S().x",
    "an enum": "class E(enum.Enum):\n    A = 1\n    B = A\n    def up(self): return self.value\n@lab.batch\ndef f(b): return E.B.up()",
    "an abstract class": "class A(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...\nclass B(A):\n    def go(self): return super().__class__.__name__\n"
                         "@lab.batch\ndef f(b): return B().go()",
    "a property": "class P:\n    @property\n    def x(self): return 1\n    @x.setter\n    def x(self, v): pass\n    y = functools.cached_property(lambda self: 2)\n"
                  "@lab.batch\ndef f(b): return P().x + P().y",
    "one made in a loop": "class L:\n    for i in range(3):\n        x = i\n    y = x + 1\n@lab.batch\ndef f(b): return L.y",
    "a decorator that sets attributes": "def tag(f):\n    f.k = 4\n    return f\n@tag\ndef h(): return h.k\n@lab.batch\ndef f(b): return h()",
    "a method below a decorator": "def plus(f):\n    def w(self): return f(self) + 1\n    return w\nclass A:\n    @plus\n    def go(self): return 1\n"
                                  "@lab.batch\ndef f(b): return A().go()",
    "a named tuple": "from typing import NamedTuple\nclass N(NamedTuple):\n    x: int = 1\n@lab.batch\ndef f(b): return N().x",
    "a cached function": "@functools.lru_cache(8)\ndef h(x): return x\nh(1)\n@lab.batch\ndef f(b): return h(1)",
    "single dispatch of methods": "class V:\n    @functools.singledispatchmethod\n    def of(self, x): return 'any'\n    @of.register\n    def _(self, x: int): return 'int'\n"
                                  "@lab.batch\ndef f(b): return V().of(3)",
}  # fmt: skip


@pytest.mark.parametrize("kind", UNCHANGED)
def test_what_its_text_gives_is_written(kind, notebook, tmp_path):
    """B07's other side: nothing that comes back equal is refused."""
    equal(notebook, tmp_path, UNCHANGED[kind])


@pytest.mark.parametrize(
    ("made", "read"),
    [
        ("count = len", "count(b)"),
        ("size = total = len", "size(b) + total(b)"),
        ("up = 'abc'.upper", "up()"),
        ("bits = (5).bit_length", "bits()"),
        ("find = re.compile('a(b)').search", "find('ab').group(1)"),
        ("look = {'a': 1}.get", "look('a')"),
        ("start = pd.Timestamp('2026-01-01').isoformat", "start()"),
        ("parse = pd.Timestamp.fromisoformat", "str(parse('2026-01-01'))"),
        ("tools = {'n': len, 'up': str.upper, 'm': max}", "tools['up']('a') + str(tools['n'](b))"),
        ("kind = int", "kind('3')"),
        (PLAIN_CLASS + "twice = M.of_class", "twice(b)['n']"),
    ],
    ids=lambda text: text.strip().partition("\n")[0][:20],
)
def test_functions_of_python_and_bound_methods_are_written(made, read, notebook, tmp_path):
    """B08: under the user's name, alone and in a container."""
    equal(notebook, tmp_path, made, f"@lab.batch\ndef f(b): return {{'r': {read}}}")


@pytest.mark.parametrize(
    ("made", "put", "read"),
    [
        ("A = []\nB = A", "A.append(1)", "len(B)"),
        ("A = {}\nset_in = A.setdefault", "set_in('k', 1)", "len(A)"),
        ("A = pd.DataFrame({'a': [1]})\nB = A", "A.loc[0, 'a'] = 5", "int(B['a'].iloc[0])"),
    ],
)
def test_what_has_two_names_has_them_in_the_script(made, put, read, notebook, tmp_path):
    """B07's sibling: what a function does to one of them is seen in the other."""
    cells = f"def put():\n    {put}\n    return {read}", "@lab.batch\ndef f(b): return {'n': put()}"
    for text in (made, *cells):
        run_cell(text, vars(notebook))
    path = notebook.lab.export(tmp_path / "p.py")
    script = next(v for v in runpy.run_path(str(path)).values() if isinstance(v, Lab))

    pd.testing.assert_frame_equal(output_of(script), output_of(notebook.lab))


# -- magics and decorators --------------------------------------------------------------------------------------------

STEP = "\n\n@lab.batch(name='timed')\ndef step(batch):\n    return {'n': len(batch) + MORE}\n"


@pytest.mark.parametrize("magic", ["time", "timeit", "prun"])
def test_a_step_below_a_magic_has_the_cell_s_text(magic, notebook, tmp_path):
    """B17: it is compiled where no text is kept."""
    run_cell("MORE = 2", vars(notebook))
    run_cell("@lab.batch(name='timed')\ndef step(batch): return 'another one of this name'", vars(notebook))
    run_cell(STEP, vars(notebook), magic)
    run_cell("def step(batch): return 'a newer one that is not registered'", vars(notebook))

    assert "    return {'n': len(batch) + MORE}" in equal(notebook, tmp_path)


def test_a_helper_and_a_lambda_below_a_magic_have_it_too(notebook, tmp_path):
    """B17's siblings."""
    run_cell("def helper(x):\n    return x + 1\n", vars(notebook), "time")
    run_cell("lab.batch(lambda batch: {'n': helper(len(batch))}, name='n')", vars(notebook), "time")
    equal(notebook, tmp_path)


DECORATORS = """
def plain(f):
    def w(b): return {"n": f(b) + 1}
    return w
def more(k):
    def outer(f):
        def w(b): return {"n": f(b) + k}
        return w
    return outer
def wrapped(k):
    def outer(f):
        @functools.wraps(f)
        def w(b): return {"n": f(b) + k}
        return w
    return outer
"""


@pytest.mark.parametrize("decorator", ["plain", "more(5)", "more(k=len('abc'))", "wrapped(5)"])
@pytest.mark.parametrize("form", ["@lab.batch\n{}def f(b): return len(b)", "{}def f(b): return len(b)\nlab.batch(f)"])
def test_a_decorated_step_is_written_as_it_runs(form, decorator, notebook, tmp_path):
    """B17: also where the decorator takes arguments or makes no use of functools.wraps."""
    equal(notebook, tmp_path, DECORATORS, form.format(f"@{decorator}\n"))


def test_a_decorated_step_within_a_function_is_refused_by_its_decorator(notebook, tmp_path):
    """B17: whether it is wrapped cannot be told there."""
    made = "def make():\n    @plain\n    def f(b): return len(b)\n    return f\nlab.batch(make())"

    assert "@plain; let that decorator use functools.wraps" in refused(notebook, tmp_path, DECORATORS, made)


# -- what should not stand there in clear -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSWORD", "hunter2"),
        ("TOKEN", b"abc"),
        ("apiKey", "abc"),
        ("DB_URL", "postgres://me:hunter2@host/db"),
        ("SETTINGS", {"host": "a", "password": "hunter2"}),
        ("BROKERS", ["mqtt://a", "mqtt://me:hunter2@b"]),
    ],
)
def test_a_secret_is_told_in_one_line(name, value, notebook, tmp_path, capsys):
    """B16: which constant, and the way."""
    equal(notebook, tmp_path, f"{name} = {value!r}", f"@lab.batch\ndef f(b): return {{'n': len({name})}}")
    said = [line for line in capsys.readouterr().err.splitlines() if "in clear" in line]

    way = f"read os.environ[{name!r}] inside the function that needs it, and export again."
    assert said == [f"mblab: p.py holds {name} in clear; {way}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKEN", "env:TOKEN"),
        ("LIMIT", "15"),
        ("MONKEY", "a"),
        ("URL", "https://host/a@b"),
        ("TOKEN", ""),
        ("TOKENS", 3),
    ],
)
def test_what_is_no_secret_is_not_told(name, value, notebook, tmp_path, capsys):
    """B16: a reference to the environment is kept as it is."""
    text = equal(notebook, tmp_path, f"{name} = {value!r}", f"@lab.batch\ndef f(b): return {{'n': str({name})}}")

    assert "in clear" not in capsys.readouterr().err
    assert f"{name} = {value!r}" in text


def test_a_table_or_function_is_no_secret(notebook, tmp_path, capsys):
    """Only plain values are looked at, and each once."""
    equal(notebook, tmp_path, "def get_token(): return 'x'", "@lab.batch\ndef f(b): return get_token()")

    assert "in clear" not in capsys.readouterr().err
    assert mblab.export.secrets.secrets_in({"a": (loop := [])}) == [] == loop
