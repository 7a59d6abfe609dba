"""Files found when they are complete, each once.

A file is complete when it cannot be half of one: Parquet when its footer can be read, which is written last; text when
it has not been written to for a while and its last line is whole. So what a writer left behind when it crashed is never
read. Files are known by name and identity (inode, size, time of change, and a digest of both ends once one is read).

    folder -> [finding] -> reading
"""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from mblab.errors import SourceChanged, SourceError
from mblab.sources.base import Position
from mblab.sources.live.base import Arrival
from mblab.sources.watching.files import Identity, digest_of, ends_whole, has_footer, identity_of
from mblab.tables.dialects import unpacked
from mblab.tables.files import KINDS, NAMED, PARTED, natural
from mblab.timing.durations import format_s

__all__ = ["FileArrival", "Finder"]

STUCK_S: Final = 30.0

logger = logging.getLogger("mblab")

FileArrival: TypeAlias = Arrival[tuple[str, Identity] | None]  # None once it is given up


@dataclass(slots=True)
class _Known:
    """A file that was seen.

    Attributes:
        identity: What it was when it was last looked at.
        since_s: When it became that, on the monotonic clock.
        found: Whether it was complete, and is read or about to be.
        digest: Of both its ends, once reading began; empty before.
        refused: Whether this identity is known to be incomplete.
        told: Whether it was said that it waits.
    """

    identity: Identity
    since_s: float
    found: bool = False
    digest: str = ""
    refused: bool = False
    told: bool = False


class Finder:
    """Finds the files of a folder as they become complete, and keeps book of those that were read.

    Args:
        pattern: Path with wildcards.
        settle_s: Seconds for which a text file must not have been written to.
        existing: Whether files that are there at the start are found.
        parted: Whether it was said how values are parted, so that the pattern alone decides which files hold rows.
        position: Where a run that is gone on with was: its `done` and its `file`.

    Attributes:
        done: The files that were read wholly: name, identity and digest of those still there.
    """

    def __init__(
        self, pattern: Path, settle_s: float, position: Position | None, *, existing: bool, parted: bool
    ) -> None:
        self._pattern, self._settle_s, self._parted = pattern, settle_s, parted
        self._books = threading.Lock()  # files are found in the poller's thread and read in the engine's
        self._known: dict[str, _Known] = {}
        self.done: list[list[Any]] = []
        self._skip = not existing and position is None
        self._resume: tuple[list[Any], int] | None = None
        if position is not None:
            self.done = [*position["done"]]
            self._known = {e[0]: _Known(Identity(*e[1:5]), 0.0, True, e[5]) for e in self.done}
            self._resume = (position["file"], int(position["row"]))

    def poll(self) -> Sequence[FileArrival | SourceError]:
        """Return the files that have become complete, oldest first, and what has changed that was read before."""
        now_s, there = time.monotonic(), self._list()
        with self._books:
            gone = [self._known.pop(name) for name in [*self._known] if name not in there]
            if gone:
                self.done = [e for e in self.done if e[0] in there]
            # by identity, not by name: what is gone may be there again under another name
            read = {k.identity: k.digest for k in (*gone, *self._known.values()) if k.found}
        arrived: list[FileArrival | SourceError] = []
        if self._resume is not None:
            arrived.append(self._resumed(there))
        for name in sorted(there, key=lambda n: (there[n].changed_ns, natural(n))):
            identity, known = there[name], self._known.get(name)
            if known is None:
                # one that moved, or a second name of it: its rows have been read
                known = self._known[name] = _Known(identity, now_s, self._skip or identity in read)
                known.digest = read.get(identity, "")
            elif known.found:
                if identity != known.identity and (changed := self._changed(name, known, identity)):
                    arrived.append(changed)
                continue
            elif identity != known.identity:
                known = self._known[name] = _Known(identity, now_s, told=known.told)
            if not known.found and self._is_complete(name, known, now_s):
                known.found = True
                arrived.append(Arrival((name, identity)))
        self._skip = False
        return arrived

    def finish(self, name: str, identity: Identity, digest: str) -> None:
        """Keep in mind that a file was read wholly."""
        with self._books:
            self.done = [*self.done, [name, *identity, digest]]
            if (known := self._known.get(name)) is not None:
                known.digest = digest

    def lose(self, name: str, row: int) -> None:
        """Give a file up that was removed or rewritten before all of it was read.

        Raises:
            SourceChanged: Some of its rows were given out.
        """
        if row == 0:  # nothing of it was given out: what is there now is seen anew
            with self._books:
                self._known.pop(name, None)
            return
        found = identity_of(name)
        if found is not None:
            known = _Known(found, 0.0, found=True, digest=digest_of(name, found.size))
            with self._books:
                self._known[name] = known
        raise SourceChanged(
            f"{name} was {'removed' if found is None else 'rewritten'} while it was read, after {row:,} of its rows; "
            "the rest of it is left out, and lab.resume() goes on with the other files."
        )

    def _list(self) -> dict[str, Identity]:
        """Return the files that match, with their identities; a leading dot or underscore is a writer's own."""
        pattern, parted = self._pattern, self._parted
        if glob.has_magic(str(pattern.parent)):
            paths = glob.glob(str(pattern), recursive=True)  # noqa: PTH207  names as text, many and often
            return {
                p: identity
                for p in paths
                if _is_rows(Path(p).name, pattern, parted=parted) and (identity := identity_of(p))
            }
        there = {}
        try:
            with os.scandir(pattern.parent) as entries:
                for entry in entries:
                    if _is_rows(entry.name, pattern, parted=parted) and fnmatch.fnmatchcase(entry.name, pattern.name):
                        identity = identity_of(entry.path)
                        if identity is not None:
                            there[entry.path] = identity
        except OSError as error:
            raise SourceError(f"{pattern.parent} cannot be looked into: {error.strerror}.") from None
        return there

    def _resumed(self, there: dict[str, Identity]) -> FileArrival | SourceError:
        assert self._resume is not None
        entry, row = self._resume
        self._resume = None
        name, identity = entry[0], Identity(*entry[1:5])
        found = there.get(name)
        if found is None or (found != identity and digest_of(name, found.size) != entry[5]):
            what = "is gone" if found is None else "was rewritten"
            return SourceChanged(f"{name} {what} since its first {row:,} row(s) were read, so it cannot be read on.")
        self._known[name] = _Known(found, 0.0, found=True)
        return Arrival((name, found), given=row)

    def _changed(self, name: str, known: _Known, identity: Identity) -> SourceChanged | None:
        """Return what to say about a file that was written to after it was found; nothing when it holds the same."""
        if not known.digest:  # not read yet; reading it will notice
            return None
        known.identity, before = identity, known.identity
        digest = digest_of(name, identity.size)
        if digest in (known.digest, ""):
            return None
        known.digest = digest
        return SourceChanged(
            f"{name} was rewritten after its rows were read (it had {before.size:,} bytes, now {identity.size:,}), and "
            "its new rows are left out; write new rows into new files. lab.resume() goes on with the other files."
        )

    def _is_complete(self, name: str, known: _Known, now_s: float) -> bool:
        waited_s = now_s - known.since_s
        if name.lower().endswith(".parquet"):
            if not known.refused:
                known.refused = not has_footer(name, known.identity.size)
            whole = not known.refused
            why = "it has no footer yet"
        else:
            # nobody has written to it for `settle`: by our own clock since it was seen so, or by the file's own stamp
            still = max(waited_s, time.time() - known.identity.changed_ns / 1e9) >= self._settle_s
            if still and not known.refused:
                known.refused = not ends_whole(name, known.identity.size)
            whole = still and not known.refused
            why = "its last line is unfinished"
        if not whole and waited_s > STUCK_S and not known.told:
            known.told = True
            logger.warning("%s has not been complete for %s: %s.", name, format_s(STUCK_S), why)
        return whole


def _is_rows(name: str, pattern: Path, *, parted: bool) -> bool:
    """Return whether a name is that of a file to read; `.json` is one only where the pattern says so.

    Where it was said how values are `parted`, the pattern decides, and in a whole folder the ending.
    """
    if parted:
        return not name.startswith((".", "_")) and (pattern.name != "*" or unpacked(Path(name)) in PARTED)
    kinds = NAMED if pattern.name.lower().endswith(tuple(NAMED)) else KINDS
    return not name.startswith((".", "_")) and name.lower().endswith(tuple(kinds))
