"""What is damaged, packed otherwise than its name says, or written to by others: one sentence of ours, and nothing lost."""

import bz2
import gzip
import json
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mblab
from mblab import Lab, SettingError, SinkError, SourceError, replay, sinks
from mblab.tuning.track_record import TrackRecord

ROWS = b"t,v\n" + b"".join(b"%d,%d\n" % (i, i * 7) for i in range(3000))
LINES = b"".join(b'{"t":%d,"v":%d}\n' % (i, i * 7) for i in range(3000))


def zstd(data):
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(data)
    return packed.getvalue().to_pybytes()


PACKS = {"gz": (gzip.compress, "gzip"), "bz2": (bz2.compress, "bz2"), "zst": (zstd, "zstd")}
NAMES = ("rows.csv", "rows.jsonl", "rows.log", "rows.txt", "rows")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", PACKS)
def test_a_file_that_is_not_packed_as_its_name_says_is_told(ending, name, tmp_path):
    """Whatever stands before the ending, also where only the first lines are looked at for the way on."""
    path = tmp_path / f"{name}.{ending}"
    path.write_bytes(LINES if "json" in name else ROWS)
    with pytest.raises(SourceError, match=rf"is not packed by {PACKS[ending][1]}, as its name says: it begins with b'"):
        replay(path, rate=1)
    with pytest.raises(SourceError, match="is not packed by"):
        replay(mblab.sources.csv(path), rate=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", PACKS)
@pytest.mark.parametrize("kept", [4, 40, 0.5])
def test_a_packed_file_that_breaks_off_or_is_damaged_is_refused_in_a_sentence(kept, ending, name, tmp_path):
    """Cut within its head, after it and in the middle; with bytes of others in it."""
    packed = PACKS[ending][0](LINES if "json" in name else ROWS)
    kept = int(kept * len(packed)) if isinstance(kept, float) else kept
    for damaged in (packed[:kept], packed[:kept] + b"\xff\x00" * 40 + packed[kept + 80 :]):
        path = tmp_path / f"{name}.{ending}"
        path.write_bytes(damaged)
        with pytest.raises(SourceError):  # zstd tells no damage, but the rows then do
            list(replay(path, rate=1).open())


@pytest.mark.parametrize("encoding", ["punycode", "idna", "base64", "rot13", "hex", "undefined", "unknown", "a\0b", ""])
def test_what_encodes_no_text_of_files_is_no_encoding(encoding):
    """Python calls some of them encodings of text, and reads no file by them."""
    with pytest.raises(SettingError, match="encoding must be one that Python knows for text files, such as 'latin-1'"):
        mblab.sources.csv("rows.csv", encoding=encoding)


@pytest.mark.parametrize(
    "encoding", ["utf-7", "utf-16", "utf-32-be", "shift_jis", "cp1252", "koi8-r", "iso2022_jp", "gb18030"]
)
def test_encodings_of_text_are_read(encoding, tmp_path):
    """Also those that say with some bytes how the next are read."""
    text = "t,v\n1,Я\n2,x\n" if encoding not in ("cp1252",) else "t,v\n1,ä\n2,x\n"
    (tmp_path / "rows.csv").write_bytes(text.encode(encoding))
    block = next(replay(mblab.sources.csv(tmp_path / "rows.csv", encoding=encoding), arrival="t").open())

    assert block.rows.v.tolist() == [text[6], "x"]


# -- what is kept beside a file ------------------------------------------------------------------------------------


def lab(sink, first=0):
    source = replay(pd.DataFrame({"i": range(first, first + 4), "id": "007"}), rate=10)
    made = Lab(source, interval="200ms", name="damaged")
    made.batch(lambda batch: batch)
    made.to(sink)
    return made


ODD = {
    "bytes as text": lambda kept: kept["after"].update(bytes="4"),
    "bytes before as text": lambda kept: kept["before"].update(bytes="4"),
    "bytes as null": lambda kept: kept["after"].update(bytes=None),
    "bytes as a fraction": lambda kept: kept["after"].update(bytes=float(kept["after"]["bytes"])),
    "a sum as truth": lambda kept: kept["after"].update(crc=True),
    "a batch as text": lambda kept: kept["after"].update(batch_id="1"),
    "a run as a number": lambda kept: kept.update(run_id=1),
    "columns as numbers": lambda kept: kept.update(columns=[1, 2]),
    "columns as nothing": lambda kept: kept.update(columns=None),
    "a beginning as a list": lambda kept: kept.update(begin=[]),
    "types as a number": lambda kept: kept.update(types=4),
    "types as other text": lambda kept: kept.update(types="x"),
    "no mark": lambda kept: kept.pop("after"),
    "a mark more": lambda kept: kept["after"].update(more=1),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    lab(sinks.csv(folder / "rows.csv")).run(clock="virtual", cost=0)
    return folder


@pytest.mark.parametrize("kind", [*ODD, "nested deeply"])
def test_a_marker_that_others_wrote_to_is_no_marker(kind, written, tmp_path):
    """The file is then anybody's: it is read as any other, and a sink leaves it alone."""
    path = tmp_path / "rows.csv"
    shutil.copy(written / "rows.csv", path)
    before = path.read_bytes()
    kept = json.loads((written / ".rows.csv.mblab.json").read_text())
    if kind in ODD:
        ODD[kind](kept)
    (tmp_path / ".rows.csv.mblab.json").write_text(json.dumps(kept) if kind in ODD else "[" * 100_000)

    assert next(replay(path, rate=1).open()).rows.id.tolist() == ["007"] * 4
    found = mblab.watch(path, settle=0).poller()
    assert [rows.id.tolist() for file in found.poll() for rows, _ in found.read(file)] == [["007"] * 4]
    if kind == "types as other text":  # the file is ours all the same
        return
    for mode in ("append", "replace"):
        with pytest.raises(SinkError, match="was not written by mblab, so it is left as it is"):
            lab(sinks.csv(path, mode=mode), 10).run(clock="virtual", cost=0)
    assert path.read_bytes() == before


def test_a_manifest_that_is_nested_deeply_is_refused_in_a_sentence(tmp_path):
    """Python's reader of JSON gives up on it with an error of another kind."""
    lab(sinks.parquet(tmp_path / "out")).run(clock="virtual", cost=0)
    manifest = tmp_path / "out" / "_mblab_manifest.jsonl"
    manifest.write_text("[" * 100_000 + "\n" + manifest.read_text())
    with pytest.raises(SinkError, match="that mblab cannot read; delete that file"):
        lab(sinks.parquet(tmp_path / "out", mode="append")).run(clock="virtual", cost=0)


def test_a_run_and_a_ledger_that_are_nested_deeply_are_refused_in_a_sentence(tmp_path):
    """Their folder and their file are left as they are."""
    run = lab(sinks.memory()).run(clock="virtual", cost=0)
    notes = run.save(tmp_path / "run") / "run.json"
    notes.write_text("[" * 100_000)
    (tmp_path / "ledger.jsonl").write_text("[" * 100_000 + "\n")
    with pytest.raises(SettingError, match="cannot be read"):
        mblab.load_run(tmp_path / "run")
    with pytest.raises(SettingError, match="holds something"):
        run.save(tmp_path / "run")
    with pytest.raises(SettingError, match="needs a new file or one that it wrote, but line 1"):
        TrackRecord().keep(tmp_path / "ledger.jsonl")
    assert len(notes.read_text()) == 100_000


@pytest.mark.parametrize("mark", [b"{}", b"[]", b"x", b"4", b'{"arrival": 4}', b"[" * 100_000, b"\xff"])
def test_a_recording_whose_mark_is_damaged_is_told(mark, tmp_path):
    """Its rows are read by pandas all the same."""
    path = tmp_path / "rows.parquet"
    mblab.record(replay(pd.DataFrame({"v": [1, 2]}), rate=1), path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"mblab.recording": mark}), path)
    with pytest.raises(SourceError, match="is marked as a recording, but what it says of itself, .*, cannot be read"):
        replay(path)
