"""Which table is behind a path: one file, or all that match a pattern.

path -> [files] -> replay, watch
"""

from __future__ import annotations

import codecs
import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from mblab.errors import SourceError, did_you_mean, shown
from mblab.tables.arrow import is_json, kind_said
from mblab.tables.base import ArrowTable, FileTable, each_once, reading, recut, sample_of
from mblab.tables.casting import is_text
from mblab.tables.csv import KEPT_BYTES, CsvTable
from mblab.tables.dialects import COMMAS, PACKED, Dialect, first_lines, unpacked
from mblab.tables.folders import fixed_part, key_column, keys_of
from mblab.tables.given import Given
from mblab.tables.inference import Column
from mblab.tables.jsonl import JsonlTable
from mblab.tables.own import OwnTable, notes_beside
from mblab.tables.parquet import ParquetTable
from mblab.tables.sniffing import line_that_reads, seems

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ENDINGS",
    "KINDS",
    "NAMED",
    "PARTED",
    "FilesTable",
    "kind_of",
    "natural",
    "open_path",
    "open_table",
    "schema_difference",
    "settled"
]  # fmt: skip

TEXTS: Final[dict[str, type[FileTable]]] = {".csv": CsvTable, ".jsonl": JsonlTable, ".ndjson": JsonlTable}
KINDS: Final[dict[str, type[FileTable]]] = {
    ".parquet": ParquetTable,
    **TEXTS,
    **{ending + packed: kind for ending, kind in TEXTS.items() for packed in PACKED},
}
# Spark writes lines of JSON into .json; much else is in such files, so they are read only where a path ends so
NAMED: Final[dict[str, type[FileTable]]] = {
    **KINDS,
    **{".json" + packed: JsonlTable for packed in ("", *PACKED)},
}
PARTED: Final = {".csv", ".tsv", ".txt", ".dat"}  # that are read in a folder where a dialect is named
ENDINGS: Final = ".parquet, .csv, .jsonl or .ndjson"  # and the last three with .gz, .zst or .bz2 behind
HEADS: Final = {  # how files begin that are not what their ending says, and what to do with them
    b"\x1f\x8b": "packed by gzip; unpack it first, or let its name end in .gz",
    b"PK\x03\x04": "packed by zip; unpack it first",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it first, or let its name end in .zst",
    b"BZh": "packed by bz2; unpack it first, or let its name end in .bz2",
    b"\xfd7zXZ": "packed by xz; unpack it first",
    b"PAR1": "a Parquet file; let its name end in .parquet",
    b"ARROW1": "an Arrow file; replay pyarrow.feather.read_table(path)",
    b"SQLite format 3": "a SQLite database; replay pd.read_sql(…)",
}
WAYS: Final = {  # what to do with files of other endings
    ".xlsx": "replay pd.read_excel(path)",
    ".xls": "replay pd.read_excel(path)",
    ".ods": "replay pd.read_excel(path)",
    ".zip": "replay pd.read_csv(path), or unpack it first",
    ".xz": "replay pd.read_csv(path), or unpack it first",
    ".feather": "replay pd.read_feather(path)",
    ".arrow": "replay pd.read_feather(path)",
}
PARTED_TEXT: Final = "if values are parted in it, say how, mblab.sources.csv(path, sep='\\t')"
OTHERWISE: Final = "read other files yourself and replay the frame"


@dataclass(frozen=True)
class FilesTable(ArrowTable):
    """Several files one after the other, all of one kind and with the same columns.

    Keys in the names of their folders, such as `region=eu`, are columns too, unless the files have such a column.

    Attributes:
        parts: Their tables, in order.
        root: Folder that they were looked for in.
    """

    parts: tuple[FileTable, ...]
    root: Path = Path()

    @cached_property
    def keys(self) -> dict[str, pa.DictionaryArray]:
        """Return the columns that are in the names of folders, with a value for each of the files with rows."""
        named = [keys_of(part.path, self.root) for part in self.full]
        names = dict.fromkeys(name for keys in named for name in keys)
        inside = {name for part in self.full for name in part.names} if names else set()
        return {name: key_column([keys.get(name) for keys in named]) for name in names if name not in inside}

    @property
    def given(self) -> Mapping[str, Given]:
        """Return the types that columns shall have, by name."""
        first = self.parts[0].given
        return {name: given for name, given in first.items() if all(p.given.get(name) == given for p in self.parts)}

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema that fits every row of every file, with the columns in the first one's order.

        A column whose types do not go together has the first one's here; `check_types` refuses it where it is read.
        """
        return self._unified[0]

    def check_types(self, columns: Sequence[str]) -> None:
        """Refuse columns that are of types which do not go together.

        Raises:
            SourceError: One of the columns is; the message names the file.
        """
        faults = self._unified[1]
        for part in self.full:
            part.check_types([name for name in columns if name in part.names])
        for name in columns:
            if name in faults:
                raise faults[name]

    @cached_property
    def _unified(self) -> tuple[pa.Schema, dict[str, SourceError]]:
        """The schema, and why a column has no type; a file without rows settles none."""
        import pyarrow as pa

        texts = [part for part in self.full if isinstance(part, CsvTable)]
        if len(texts) == len(self.full):  # one rule for the blocks of a file and for files
            names = dict.fromkeys(name for part in texts for name in part.names)
            known = {c: [part.columns[c] for part in texts if c in part.columns] for c in names}
            joined = [(c, reduce(Column.joined, columns).type) for c, columns in known.items()]
            return pa.schema([*joined, *((name, column.type) for name, column in self.keys.items())]), {}
        types: dict[str, pa.DataType] = {}
        faults: dict[str, SourceError] = {}
        for part in self.full:
            for found in part.schema:  # of JSON, columns may be missing
                try:
                    types[found.name] = self._type(found.name, types.get(found.name, pa.null()), found.type, part)
                except SourceError as error:
                    faults.setdefault(found.name, error)
        inside = {name[:at] for name in types for at in range(len(name)) if name[at] == "."}
        if getattr(self.parts[0], "flatten", False):  # what says only that there is no object to flatten
            types = {name: kind for name, kind in types.items() if not (pa.types.is_null(kind) and name in inside)}
        types |= {name: column.type for name, column in self.keys.items()}
        return pa.schema(types.items(), self.full[0].schema.metadata), faults

    @cached_property
    def full(self) -> tuple[FileTable, ...]:
        """The files that have rows; all of them when none has."""
        return tuple(part for part in self.parts if part.num_rows != 0) or self.parts

    def check_names(self, columns: Sequence[str] | None = None) -> None:
        """Refuse files whose columns differ in more than their order; of JSON, columns may be missing.

        Args:
            columns: Those that are needed, when others do not matter.

        Raises:
            SourceError: One lacks a column, has one besides, or one twice.
        """
        first = [n for n in self.full[0].names if columns is None or n in columns]
        for part in self.full:
            own = [n for n in part.names if columns is None or n in columns]
            each_once(own, part.path)
            if not isinstance(part, JsonlTable) and (said := schema_difference(first, own)):
                raise SourceError(f"{part.path} {said}; all files must have the same columns.")

    @property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes, those of text files as the first one begins."""
        import pyarrow as pa

        if all(isinstance(part, ParquetTable) for part in self.parts):
            return sample_of(self.schema)
        keys = sample_of(pa.schema([(name, column.type) for name, column in self.keys.items()]))
        return pd.concat([self.full[0].sample, keys], axis=1)

    @property
    def names(self) -> list[str]:
        """Return the names of all columns."""
        if isinstance(self.parts[0], JsonlTable):
            return list(self.schema.names)
        return [*self.full[0].names, *self.keys]

    @property
    def num_rows(self) -> int | None:
        """Return how many rows there are; None when only reading them tells."""
        counts = [part.num_rows for part in self.parts]
        return None if None in counts else sum(count or 0 for count in counts)

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""
        if column in self.keys:
            return bool(self.keys[column].null_count)
        return any(part.holes(column) for part in self.full)

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one anywhere that float64 cannot."""
        return column not in self.keys and any(part.wide(column) for part in self.full)

    def look(self, columns: Sequence[str]) -> None:
        """Find what will be asked of some columns in one pass over each file."""
        for part in self.full:
            part.look([c for c in columns if c in part.names])

    def dictionaries(self, column: str) -> Iterator[pa.Array]:
        """Return the categories of a dictionary column, piece by piece."""
        if column in self.keys:
            yield self.keys[column].dictionary
            return
        for part in self.full:
            yield from part.dictionaries(column)

    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return the rows from `start` on in tables that end at multiples of 100,000 rows."""
        self.check_types(columns)
        wanted = {c: (types or {}).get(c, self.schema.field(c).type) for c in columns}
        first, skipped = 0, 0
        while first < len(self.full) and (rows := self.full[first].num_rows) is not None and skipped + rows <= start:
            first, skipped = first + 1, skipped + rows

        inside = [c for c in columns if c not in self.keys]

        def batches() -> Iterator[pa.RecordBatch]:
            for at, part in enumerate(self.full[first:], first):
                own = {f.name: f.type for f in part.schema}
                other = {c: wanted[c] for c in inside if own.get(c) != wanted[c]}
                for table in part.arrow(inside or part.names[:1], 0, other):
                    whole = self._with_keys(table, at).select(list(columns)) if self.keys else table
                    yield from whole.replace_schema_metadata(None).to_batches()

        yield from recut(batches(), skipped, start)

    def _with_keys(self, table: pa.Table, at: int) -> pa.Table:
        """Return rows of a file with what the names of its folders say."""
        import pyarrow as pa

        for name, column in self.keys.items():
            table = table.append_column(name, column.take(pa.repeat(at, table.num_rows)))
        return table

    def _type(self, name: str, one: pa.DataType, other: pa.DataType, part: FileTable) -> pa.DataType:
        import pyarrow as pa

        if one == other or pa.types.is_null(other):
            return one
        if pa.types.is_null(one):
            return other
        if all(isinstance(part, JsonlTable) for part in self.full):
            if _are_texts(one, other):
                return pa.string()  # what is text in one of them is text in all
            if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
                return pa.timestamp("us", one.tz)  # of which one is, for its times are beyond nanoseconds
        one, other = (t.value_type if pa.types.is_dictionary(t) else t for t in (one, other))
        try:
            both = [pa.schema([(name, kind)]) for kind in (one, other)]
            return pa.unify_schemas(both, promote_options="permissive").field(0).type
        except pa.ArrowException:
            raise SourceError(
                f"{part.path} holds column {name!r} as {kind_said(other)}, but the files before as {kind_said(one)}; "
                "make them the same."
            ) from None


def _are_texts(one: pa.DataType, other: pa.DataType) -> bool:
    """Return whether values of two types are both text in JSON, and not times that go together."""
    import pyarrow as pa

    zones = {kind.tz if pa.types.is_timestamp(kind) else is_text(kind) for kind in (one, other)}
    return len(zones) > 1 and all(is_text(kind) or pa.types.is_timestamp(kind) for kind in (one, other))


def open_path(
    path: Path, types: Mapping[str, Given] | None = None, dialect: Dialect | None = None, *, flatten: bool = False
) -> FileTable | FilesTable:
    """Return the table behind a path, or behind all files that a path with wildcards matches, by name.

    Names are ordered as people count: part-2 before part-10. Those that begin with a dot or an underscore, and folders,
    are left out. Of a folder, all files in it and below are taken, if they are of one kind.

    Args:
        path: A file, a folder, or a path with wildcards.
        types: Types that columns shall have; of other columns the rows decide.
        dialect: How CSV files are written, whatever their ending; None: as their ending says, with commas.
        flatten: Whether what stands in objects are columns, such as `device.id`.

    Raises:
        SourceError: Nothing matches, or the files are of several kinds.
    """
    if path.is_dir():
        return _open_folder(path, types, dialect, flatten=flatten)
    if path.exists() or not glob.has_magic(str(path)):
        return open_table(path, types, dialect, flatten=flatten)
    matches = [Path(p) for p in sorted(glob.glob(str(path), recursive=True), key=natural)]  # noqa: PTH207  absolute too
    root = fixed_part(path)
    files = [p for p in matches if p.is_file() and not _is_writers_own(p, root)]
    if not files:
        raise SourceError(f"{path} matches no file; paths are relative to the working directory.")
    endings = sorted({unpacked(p) for p in files})
    if len(endings) > 1 and dialect is None:
        raise SourceError(f"{path} matches files of several kinds, {endings}; name one, such as '*{endings[0]}'.")
    return FilesTable(tuple(open_table(p, types, dialect, flatten=flatten, among=len(files)) for p in files), root)


def _open_folder(
    folder: Path, types: Mapping[str, Given] | None, dialect: Dialect | None, *, flatten: bool
) -> FilesTable:
    found = [
        p
        for p in sorted(folder.rglob("*"), key=lambda p: natural(str(p)))
        if p.is_file() and not _is_writers_own(p, folder)
    ]
    known = KINDS.keys() if dialect is None else PARTED
    endings = sorted({unpacked(p) for p in found} & known)
    if len(endings) != 1:
        several = f" with files of several kinds, {endings}" if endings else ""
        example = str(folder / f"*{endings[0] if endings else '.parquet' if dialect is None else '.csv'}")
        raise SourceError(f"{folder} is a folder{several}; say which files in it, such as {example!r}.")
    files = [p for p in found if unpacked(p) == endings[0]]
    return FilesTable(tuple(open_table(p, types, dialect, flatten=flatten, among=len(files)) for p in files), folder)


def _is_writers_own(path: Path, root: Path) -> bool:
    """Return whether a name below a folder begins with a dot or an underscore, as what is written or noted does."""
    return any(name.startswith((".", "_")) for name in path.relative_to(root).parts)


def open_table(
    path: Path,
    types: Mapping[str, Given] | None = None,
    dialect: Dialect | None = None,
    *,
    flatten: bool = False,
    among: int = 1,
) -> FileTable:
    """Return the table behind the path of one file, by the path's ending, or as CSV of a dialect.

    Args:
        path: The file.
        types: Types that columns shall have; of other columns the rows decide.
        dialect: How the file is written, if it is CSV whatever its ending.
        flatten: Whether what stands in objects are columns, as in `open_path`.
        among: How many files are read together, which share what may be kept in memory.

    Raises:
        SourceError: There is no such file, it is a folder, or its ending is none that is read.
    """
    if path.is_dir():
        raise SourceError(f"{path} is a folder; say which files in it, such as {str(path / '*.parquet')!r}.")
    if path.is_symlink() and not path.exists():
        raise SourceError(f"{path} is a link to {path.readlink()}, which does not exist.")
    if not path.exists():
        siblings = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        where = "" if path.parent.is_dir() else f" (there is no folder {path.parent} either)"
        hint = did_you_mean(path.name, siblings, "; paths are relative to the working directory.")
        raise SourceError(f"{path} does not exist{where}{hint}")
    kind = CsvTable if dialect else kind_of(path)
    if kind is None:
        head, _ = _ends_of(path)
        _refuse_unpacked(path, head)
        raise SourceError(f"{path} must end in {ENDINGS}; {WAYS.get(path.suffix.lower()) or _way_to_read(path)}.")
    _check_content(path, kind)
    given = dict(types or {})
    if kind is ParquetTable:
        return ParquetTable(path, given, flatten=flatten)
    plain: FileTable = (
        CsvTable(path, given, dialect or COMMAS, KEPT_BYTES // among)
        if kind is CsvTable
        else JsonlTable(path, given, flatten=flatten)
    )
    notes = None if dialect or flatten else notes_beside(path)
    return plain if notes is None else OwnTable(path, given, noted=notes, plain=plain)


def _way_to_read(path: Path) -> str:
    """Return what to do with a file whose ending says nothing, by how it begins."""
    with reading(path):
        lines = first_lines(path)
    if lines and lines[0].startswith("{"):
        return "it seems to hold JSON, so let its name end in .jsonl, or replay pd.read_json(path, lines=True)"
    found = seems(lines)
    if found:
        return f"replay {line_that_reads(found)}"
    return PARTED_TEXT if unpacked(path) in PARTED else OTHERWISE


def settled(table: FileTable, columns: Sequence[str]) -> dict[str, Given]:
    """Return the types that a file settles for those that come after it, by its values; nested ones settle nothing."""
    import pyarrow as pa

    kinds = {f.name: f.type for f in table.schema if f.name in columns} if columns else {}
    no_hold = (pa.types.is_null, pa.types.is_nested, pa.types.is_dictionary, is_json)
    return {n: Given(kind, settled=True) for n, kind in kinds.items() if not any(test(kind) for test in no_hold)}


def kind_of(path: Path) -> type[FileTable] | None:
    """Return the kind of table that a file's name says; None when it is none that is read."""
    packed = path.suffix.lower() in PACKED
    return NAMED.get(unpacked(path) + path.suffix.lower() if packed else path.suffix.lower())


def _check_content(path: Path, kind: type[FileTable]) -> None:
    """Raise when a file is not what its ending says, judging by how it begins and ends."""
    head, tail = _ends_of(path)
    is_parquet = kind is ParquetTable
    if not head and kind is not JsonlTable:
        raise SourceError(f"{path} is empty: it has no rows, and names no columns.")
    packed = None if is_parquet else PACKED.get(path.suffix.lower())
    found = _said_by(head)
    _refuse_unpacked(path, head)
    if found and not packed and not (is_parquet and head.startswith(b"PAR1")):
        raise SourceError(f"{path} is {found}.")
    if kind is JsonlTable and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SourceError(f"{path} is UTF-16 text; save it as UTF-8.")
    if kind is JsonlTable and not packed and b"\0" in head[:2]:
        raise SourceError(f"{path} is UTF-16 or UTF-32 text; save it as UTF-8.")
    if is_parquet and not head.startswith((b"PAR1", b"PARE")):
        raise SourceError(f"{path} is no Parquet file: it begins with {shown(head[:16])}.")
    if is_parquet and tail not in (b"PAR1", b"PARE"):
        raise SourceError(f"{path} breaks off: a Parquet file ends with a footer, and it has none; write it again.")


def _ends_of(path: Path) -> tuple[bytes, bytes]:
    """Return how a file begins and ends, as it is on the disk."""
    if not path.is_file():
        raise SourceError(f"{path} is no file; rows are read from files only.")
    try:
        with path.open("rb") as file:
            head = file.read(64)
            file.seek(max(0, path.stat().st_size - 4))
            return head, file.read()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None


def _said_by(head: bytes) -> str | None:
    """Return what a file is by how it begins, and what to do with it; None where that says nothing."""
    return next((what for begin, what in HEADS.items() if head.startswith(begin)), None)


def _refuse_unpacked(path: Path, head: bytes) -> None:
    """Raise when a file is not packed as its name says."""
    packed = PACKED.get(path.suffix.lower())
    if packed and head and not (_said_by(head) or "").startswith(f"packed by {packed}"):
        raise SourceError(f"{path} is not packed by {packed}, as its name says: it begins with {shown(head[:16])}.")


def schema_difference(one: Sequence[str], other: Sequence[str]) -> str:
    """Return how the columns of another file differ, for a message; empty when they do not.

    >>> schema_difference(["a", "b"], ["b", "c"])
    "lacks columns ['a'] and has ['c'] besides"
    """
    lacks = [str(c) for c in one if c not in other]
    besides = [str(c) for c in other if c not in one]
    said = [f"lacks columns {shown(lacks)}"] * bool(lacks) + [f"has {shown(besides)} besides"] * bool(besides)
    return " and ".join(said)


def natural(name: str) -> list[tuple[int, str]]:
    """Return the key by which names are ordered as people count.

    >>> sorted(["part-10.csv", "part-2.csv"], key=natural)
    ['part-2.csv', 'part-10.csv']
    """
    return [(int(digits), "") if digits else (-1, text) for digits, text in re.findall(r"(\d+)|(\D+)", str(name))]
