"""How text files seem to be written, in the sentences that refuse them: what they say is done to the letter."""

import bz2
import gzip
import re

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import SourceError, replay
from mblab.tables.sniffing import Seems, seems

NOTED = {
    "an address": ("https://example.org\nt,a,b\n1,2,3\n2,3,4\n", "pd.read_csv(path, skiprows=1)"),
    "marked lines": ("#datatype,long,double\n#group,a,b\n,t,v\n,1,2.5\n,2,3.5\n", "pd.read_csv(path, skiprows=2)"),
    "a blank line": ("Category: all\n\nt,v\n1,2\n2,3\n", "pd.read_csv(path, skiprows=2)"),
    "semicolons": (
        "Export of today\n\nt;v;w\n1;2,5;1\n2;3,5;2\n",
        "pd.read_csv(path, sep=';', decimal=',', skiprows=2)",
    ),
    "tabs": ("made by a logger\nt\tv\tw\n1\t2\t3\n2\t3\t4\n", "pd.read_csv(path, sep='\\t', skiprows=1)"),
}


@pytest.mark.parametrize("kind", NOTED)
def test_lines_before_the_header_are_told(kind, tmp_path):
    """As many collections put their address, a title or remarks first."""
    text, line = NOTED[kind]
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match="line 1, must be a header, but .* is a note") as caught:
        list(replay(path, arrival="t").open())

    assert f"replay {line}." in str(caught.value)
    assert next(replay(eval(line, {"pd": pd, "path": path}), arrival="t").open()).rows["t"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "text",
    ["#t,v\n1,2\n2,3\n", "t,v\n1,2,\n2,3,\n", "t,\n1,2\n2,3\n", "t,v,w\n1,2\n2,3\n"],
    ids=["a marked header", "a comma too many", "a name that lacks", "a name too many"],
)
def test_a_header_that_is_not_quite_right_is_no_note(text, tmp_path):
    """What is said of it names the line that does not fit, or nothing is."""
    path = tmp_path / "rows.csv"
    path.write_text(text)
    said = ""
    try:
        list(replay(path, rate=1).open())
    except SourceError as error:
        said = str(error)

    assert "note" not in said


ENDED = {
    "commas": ("rows.txt", "t,v\n1,2.5\n2,3.5\n", "mblab.sources.csv(path)"),
    "semicolons": ("rows.dat", "t;v\n1;2,5\n2;3,5\n", "mblab.sources.csv(path, sep=';', decimal=',')"),
    "tabs": ("rows.tsv", "t\tv\n1\t2.5\n2\t3.5\n", "mblab.sources.csv(path, sep='\\t')"),
    "bars": ("rows.log", "t|v\n1|2.5\n2|3.5\n", "mblab.sources.csv(path, sep='|')"),
    "JSON": ("rows.log", '{"t":1,"v":2.5}\n{"t":2,"v":3.5}\n', "pd.read_json(path, lines=True)"),
    "notes": ("rows.prn", "# made\n# today\nt,v\n1,2.5\n2,3.5\n", "pd.read_csv(path, skiprows=2)"),
}


@pytest.mark.parametrize("kind", ENDED)
def test_a_file_of_another_ending_is_looked_at(kind, tmp_path):
    """The sentence gives the line for this file, not for some file."""
    name, text, line = ENDED[kind]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SourceError, match=re.escape(f"replay {line}.")):
        replay(path, arrival="t")

    rows = next(replay(eval(line, {"pd": pd, "mblab": mblab, "path": path}), arrival="t").open()).rows
    assert rows["v"].tolist() == [2.5, 3.5]


@pytest.mark.parametrize("content", [b"", b"\0\1\2", b"plain words\nmore words\n", "t,v\n1,ü\n".encode("latin-1")])
def test_what_is_no_table_is_refused_without_a_guess(content, tmp_path):
    """Bytes and prose are read by nobody here."""
    (tmp_path / "rows.bin").write_bytes(content)
    with pytest.raises(SourceError, match="must end in"):
        replay(tmp_path / "rows.bin", arrival="t")


@pytest.mark.parametrize("ids", [["46E85123", "12E99999"], ["1e400", "2e400"]])
def test_a_number_without_end_is_text(ids, tmp_path):
    """Hexadecimal ids look like numbers in scientific notation; what would be infinite was never one."""
    path = tmp_path / "rows.csv"
    path.write_text("id,v\n" + "".join(f"{i},inf\n" for i in ids))
    rows = next(replay(path, rate=1).open()).rows

    assert rows["id"].tolist() == ids
    assert np.isinf(rows["v"]).all()


def test_no_line_is_no_table():
    """And one alone has no rows."""
    assert seems([]) is None
    assert seems(["a,b"]) is None
    assert seems(["a,b", "1,2"]) == Seems(",", ".", 0)


@pytest.mark.parametrize("name", ["day.json", "day.json.gz", "day.json.bz2"])
def test_json_lines_of_an_archive_are_replayed_and_watched_by_their_name(name, tmp_path):
    """GH Archive packs lines of JSON as .json.gz: as .json, it is read where a path ends so."""
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get((tmp_path / name).suffix, bytes)
    (tmp_path / name).write_bytes(pack(b'{"t":1,"id":"007"}\n{"t":2,"id":"008"}\n'))
    for path in (tmp_path / name, tmp_path / f"*{''.join((tmp_path / name).suffixes)}"):
        assert next(replay(path, arrival="t").open()).rows["id"].tolist() == ["007", "008"]
        assert next(mblab.watch(path, every="20ms", settle=0).open()).rows["id"].tolist() == ["007", "008"]
