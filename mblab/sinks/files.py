"""What sinks that write files share: paths, whole-file writes, names of columns, which batch stands there already.

Nothing here knows a format.

    rows -> csv, parquet -> [files] -> disk
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

import pandas as pd

from mblab.errors import SettingError, SettingTypeError, SinkError, did_you_mean, shown
from mblab.sinks.base import Mode
from mblab.support.arguments import user_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mblab.sinks.base import Delivery

__all__ = [
    "FileSink",
    "aligned",
    "is_held",
    "make_folder",
    "named",
    "replace_file",
    "sync_folder",
    "write_all",
    "writing",
]

MODES: tuple[str, ...] = get_args(Mode)


class FileSink:
    """The part of a sink that is known before a run: path, mode, and the words for them.

    Attributes:
        kind: The factory's name in `mblab.sinks`.
        path: Where it writes, as it was given.
        file: The same, absolute and without links: what it is known by.
    """

    kind: ClassVar[str]
    guarantee: ClassVar[str]
    effects = True

    def __init__(self, path: str | os.PathLike[str], mode: Mode | None) -> None:
        self.file = user_path(path, f"{self.kind}'s path").resolve()
        self.path = Path(path)
        self._given_mode = _checked_mode(mode)

    @property
    def target(self) -> str:
        """The absolute path."""
        return str(self.file)

    @property
    def mode(self) -> Mode:
        """What happens to what an earlier run wrote there; "replace" unless it was given."""
        return self._given_mode or "replace"

    def describe(self) -> str:
        """Return one line for people: kind, target, mode, guarantee."""
        return f"{self.kind}: {self.path}, {self.mode}, {self.guarantee}"

    def code(self, output: str | None = None) -> str:
        """Return the expression that makes this sink again.

        Args:
            output: Expression to stand where the path is, such as `options.output`.
        """
        mode = "" if self._given_mode is None else f", mode={self._given_mode!r}"
        return f"mblab.sinks.{self.kind}({output or repr(str(self.path))}{mode})"

    def __repr__(self) -> str:
        return self.code()


def _checked_mode(mode: object) -> Mode | None:
    if mode is not None and not isinstance(mode, str):
        raise SettingTypeError(f"mode must be one of {list(MODES)} or None, got {shown(mode)}.")
    if mode is not None and mode not in MODES:
        raise SettingError(f"mode must be one of {list(MODES)} or None, got {shown(mode)}{did_you_mean(mode, MODES)}")
    return mode  # type: ignore[return-value]  # checked in the line above


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about a place into one sentence, with its error as the cause."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise SinkError(f"{path} cannot be written: {reason}; make room or choose another path.") from error


def make_folder(folder: Path, path: Path) -> None:
    """Make the folder that a sink writes into, and those above it.

    Raises:
        SinkError: A file stands in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise SinkError(
            f"{path} cannot be written: a file stands where a folder is needed; choose another path."
        ) from None


def write_all(descriptor: int, data: bytes, at: int) -> None:
    """Write all bytes at an offset; a single call may take fewer, and says that the disk is full only in the next."""
    left = memoryview(data)
    while left:
        count = os.pwrite(descriptor, left, at)
        left, at = left[count:], at + count


def replace_file(file: Path, data: bytes, *, durable: bool) -> None:
    """Make a file hold these bytes, whole or not at all, also if the process is killed in between.

    Args:
        file: The file; it is replaced if it is there.
        data: Its new content.
        durable: Whether to return only when it would survive a power cut.
    """
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            write_all(descriptor, data, 0)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(file)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def named(rows: pd.DataFrame, path: Path, batch_id: int) -> pd.DataFrame:
    """Return the rows, not copied, with column names that are strings.

    Raises:
        SinkError: There are no columns, or two have the same name as text.
    """
    names = [str(c) for c in rows.columns]
    if not names:
        raise SinkError(f"{path} cannot take batch {batch_id}: its {len(rows):,} rows have no columns.")
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise SinkError(f"{path} cannot take batch {batch_id}: columns {shown(twice)} are there more than once.")
    rows = rows.copy(deep=False)
    rows.columns = pd.Index(names)
    rows.attrs = {}
    return rows


def aligned(rows: pd.DataFrame, columns: Sequence[str], path: Path, batch_id: int) -> pd.DataFrame:
    """Return the rows with their columns in the order of those that stand there.

    Raises:
        SinkError: A column is missing or is one too many.
    """
    have = list(rows.columns)
    if have == list(columns):
        return rows
    missing, extra = [c for c in columns if c not in have], [c for c in have if c not in columns]
    if missing or extra:
        differs = " and ".join(
            f"{verb} {shown(names, 120)}" for verb, names in (("lacks", missing), ("adds", extra)) if names
        )
        raise SinkError(
            f"{path} has the columns {shown(list(columns), 120)} but batch {batch_id} {differs}; "
            "return the same columns from every batch."
        )
    return rows[list(columns)]


def is_held(last: Delivery | None, delivery: Delivery, where: object) -> bool:
    """Return whether a delivery stands there already: batches of a run come in order, so up to the last one they do.

    Raises:
        SinkError: It does, but made of other input, or nothing tells of what: a checkpoint that went back in time.
    """
    if last is None or last.run_id != delivery.run_id or delivery.batch_id > last.batch_id:
        return False
    known = last.input_hash if last.batch_id == delivery.batch_id else ""
    if delivery.input_hash != known:
        raise SinkError(
            f"{where} holds the batches of run {last.run_id} up to {last.batch_id}, but batch {delivery.batch_id} now "
            "comes from other input; restore the newer checkpoint, or write to another path."
        )
    return True
