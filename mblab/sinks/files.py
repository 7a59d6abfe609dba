"""What sinks that write files share: path, mode, the words for what goes wrong, names of columns.

Nothing here knows a format.

    rows -> csv, parquet, sqlite -> [files] -> disk
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, get_args

import pandas as pd

from mblab.errors import SettingError, SinkError, shown
from mblab.sinks.base import Mode
from mblab.sinks.deliveries import Beginning, beginning
from mblab.support.arguments import one_of, user_path
from mblab.support.files import DISK, Disk

__all__ = ["FileSink", "aligned", "named", "writing"]

MODES: Final[tuple[Mode, ...]] = get_args(Mode)


class FileSink:
    """The part of a sink that is known before a run: path, mode, and the words for them.

    Attributes:
        kind: The factory's name in `mblab.sinks`.
        path: Where it writes, as it was given.
        file: The same, absolute and without links: what it is known by.
        disk: What it writes through.
        writes_folder: Whether its path is that of a folder.
    """

    kind: ClassVar[str]
    guarantee: ClassVar[str]
    effects = True
    writes_folder: ClassVar[bool] = False
    functions: tuple[Callable[..., object], ...] = ()
    disk: Disk = DISK

    def __init__(self, path: str | os.PathLike[str], mode: Mode | None) -> None:
        self.file = user_path(path, f"{self.kind}'s path").resolve()
        self.path = Path(path)
        self._given_mode: Mode | None = None if mode is None else one_of(mode, "mode", MODES)

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
        return f"mblab.sinks.{self.kind}({output or repr(str(self.path))}{self._more_code()}{mode})"

    def _more_code(self) -> str:
        """Return the arguments between path and mode, each behind a comma."""
        return ""

    def __repr__(self) -> str:
        return self.code()

    def _names_a_file(self, path: str | os.PathLike[str], example: str) -> None:
        """Refuse the path of a folder."""
        text = os.fspath(path)
        if text.endswith(("/", os.sep)):
            raise SettingError(f"{self.kind}'s path must name a file, got the folder {shown(text)}; {example}.")

    def _kind(self) -> int:
        """Return the mode of what stands at the path, 0 when nothing does."""
        try:
            return self.disk.stat(self.file).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def _refuse_other_kinds(self, example: str) -> None:
        kind = self._kind()
        if kind and not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
            raise SinkError(f"{self.path} is {what}; {self.kind} needs the path of a file, such as {example}.")

    def _make_folder(self, folder: Path) -> None:
        try:
            self.disk.make_folder(folder)
        except (FileExistsError, NotADirectoryError):
            raise SinkError(
                f"{self.path} cannot be written: a file stands where a folder is needed; choose another path."
            ) from None

    def _beginning(self, *, same_run: bool, stands: bool, already: str) -> Beginning:
        refusal = f"{self.path} {already}, or mode='replace' or 'append'."
        return beginning(self.mode, same_run=same_run, stands=stands, refusal=refusal)

    def _stat(self, file: Path) -> os.stat_result:
        """Return what a file that is being written is like now."""
        try:
            return self.disk.stat(file)
        except OSError:
            raise self._moved() from None

    def _moved(self) -> SinkError:
        return SinkError(f"{self.path} was moved or deleted during the run; start the run again.")

    def _not_open(self) -> SinkError:
        return SinkError(f"{self.path} is not open; a run opens its sinks before it delivers.")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about a place into one sentence, with its error as the cause."""
    try:
        yield
    except OSError as error:
        reason = "a link stands there" if error.errno == errno.ELOOP else error.strerror or str(error).splitlines()[0]
        raise SinkError(f"{path} cannot be written: {reason}; make room or choose another path.") from error


def named(rows: pd.DataFrame, path: Path, batch_id: int) -> pd.DataFrame:
    """Return the rows, not copied, with column names that are strings.

    Raises:
        SinkError: There are no columns, two have the same name as text, or one's is no text that UTF-8 has.
    """
    names = [str(c) for c in rows.columns]
    if not names:
        raise SinkError(f"{path} cannot take batch {batch_id}: its {len(rows):,} rows have no columns.")
    if odd := [name for name in names if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name)]:
        raise SinkError(
            f"{path} cannot take batch {batch_id}: {shown(odd[0])} in the name of a column is half a character and has "
            "no UTF-8; rename the column in the step."
        )
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
