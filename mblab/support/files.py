"""Files that last: whole or not there, there after a power cut when that was asked for, and one writer at a time.

Everything durable goes through a `Disk`. There are two: `DISK`, the system's, and one in memory that tests give to the
same code, to see what a power cut leaves of it (`mblab.testing.MemoryDisk`).

    sinks, recordings, saved runs, exports -> [files] -> the system
"""

from __future__ import annotations

import errno
import os
import random
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol

__all__ = [
    "DISK",
    "Disk",
    "Lock",
    "SystemDisk",
    "beside",
    "left_over",
    "lock_holder",
    "make_beside",
    "move_into_place",
    "says_within",
    "write_all",
    "write_whole",
]

NAME_BYTES: Final = 240  # of a file's name go into that of the file beside it; a name may have 255
OPEN_FLAGS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
TRIES: Final = 20  # at a name that nobody has
LOCK_BYTE: Final = 1 << 30  # Windows locks bytes, and others could not read those
_draws: Final = random.Random()  # noqa: S311 - for names; not that of the module, which the user may have seeded


# -- what a disk is -----------------------------------------------------------------------------------------------


class Lock(Protocol):
    """A kernel lock that is held; it is free again when it is released, or its process is gone."""

    def release(self) -> None:
        """Let it go; calling it twice is fine."""
        ...


class Disk(Protocol):
    """What is asked of the system about files. An open file is known by a number, its descriptor.

    What was written, renamed or removed is seen by everybody at once, but survives a power cut only after `sync` of the
    file and, for its name, `sync_folder` of the folder it is in. Every failure is an `OSError` as the system raises it.
    """

    def open(self, file: Path, *, new: bool = False) -> int:
        """Open a file to read and write, and make it when it is not there.

        Never what a link points to: where one has the name, an `OSError` says so.

        Args:
            file: The file.
            new: Whether nothing of that name may be there, else it is a `FileExistsError`.
        """
        ...

    def close(self, descriptor: int) -> None:
        """Let a file go, without a sync."""
        ...

    def read(self, descriptor: int, size: int, at: int) -> bytes:
        """Return up to `size` bytes from an offset on; none at the end."""
        ...

    def write(self, descriptor: int, data: bytes | memoryview, at: int) -> int:
        """Write at an offset, and return how many bytes were taken; see `write_all`."""
        ...

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file, or fill it up with zeros."""
        ...

    def sync(self, descriptor: int) -> None:
        """Wait until a file's bytes survive a power cut."""
        ...

    def stat(self, file: Path | int) -> os.stat_result:
        """Return size, inode and kind of what has a name or a descriptor."""
        ...

    def content(self, file: Path) -> bytes:
        """Return all bytes of a file."""
        ...

    def reader(self, file: Path) -> BinaryIO:
        """Open a file for a library that reads parts of it."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted."""
        ...

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it; one that is there stays."""
        ...

    def replace(self, old: Path, new: Path) -> None:
        """Give a file another name in the same folder, in place of what has that name."""
        ...

    def remove(self, file: Path) -> None:
        """Take a file's name away."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Wait until the names in a folder survive a power cut."""
        ...

    def lock(self, file: Path, *, noted: bool = True) -> Lock | None:
        """Take the lock on a file, or return None when somebody has it.

        The file is made when it is not there, and is never removed: two processes could hold a lock on one name.

        Args:
            file: To lock.
            noted: Whether the file is for nothing else, and holds who has it: what `lock_holder` says.
        """
        ...


# -- the system's -------------------------------------------------------------------------------------------------

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, LOCK_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, LOCK_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class _SystemLock:
    """A lock by the descriptor that holds it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self.is_taken = _try_lock(descriptor)
        _held.add(self)

    def release(self) -> None:
        if self._descriptor is not None and self.is_taken:
            _unlock(self._descriptor)  # closing is not enough while a child that was just forked has its copy
        self.forget()

    def forget(self) -> None:
        """Close the descriptor, which frees the lock when nobody has another copy."""
        _held.discard(self)
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_held: Final[set[_SystemLock]] = set()
_locking: Final = threading.RLock()  # no fork comes between opening a file to lock and noting that in `_held`


def _after_fork_in_child() -> None:
    """Close the child's copies of locks, else it keeps them when their holder has died, and draw other names than it.

    Closing a copy frees nothing while the holder has its own.
    """
    _draws.seed()
    for lock in [*_held]:
        lock.forget()
    _locking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_locking.acquire, after_in_parent=_locking.release, after_in_child=_after_fork_in_child)


class SystemDisk:
    """The disk of this machine."""

    def open(self, file: Path, *, new: bool = False) -> int:
        return os.open(file, os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0) | OPEN_FLAGS, 0o666)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def read(self, descriptor: int, size: int, at: int) -> bytes:
        return os.pread(descriptor, size, at)

    def write(self, descriptor: int, data: bytes | memoryview, at: int) -> int:
        return os.pwrite(descriptor, data, at)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def stat(self, file: Path | int) -> os.stat_result:
        return os.stat(file)  # noqa: PTH116 - a descriptor is no Path

    def content(self, file: Path) -> bytes:
        return file.read_bytes()

    def reader(self, file: Path) -> BinaryIO:
        return file.open("rb")

    def names(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder))  # noqa: PTH208 - the names alone

    def make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    def replace(self, old: Path, new: Path) -> None:
        old.replace(new)

    def remove(self, file: Path) -> None:
        file.unlink()

    def sync_folder(self, folder: Path) -> None:
        if sys.platform == "win32":
            return  # it has no descriptor there, and names are written with the file
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, file: Path, *, noted: bool = True) -> Lock | None:
        with _locking:
            descriptor = self.open(file)
            try:
                lock = _SystemLock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            try:
                if lock.is_taken:
                    if noted:
                        self.truncate(descriptor, 0)
                        write_all(descriptor, f"{os.getpid()}\n".encode(), 0, self)
                    return lock
            except BaseException:
                lock.release()
                raise
            lock.release()
            return None


DISK: Final[Disk] = SystemDisk()


# -- what is built on it ------------------------------------------------------------------------------------------


def write_all(descriptor: int, data: bytes, at: int, disk: Disk = DISK) -> None:
    """Write all bytes at an offset; a single call may take fewer, and says that the disk is full only in the next."""
    left = memoryview(data)
    while left:
        taken = disk.write(descriptor, left, at)
        left, at = left[taken:], at + taken


def write_whole(
    file: Path, content: bytes | Callable[[Path], object], *, durable: bool = False, disk: Disk = DISK
) -> None:
    """Make a file hold this, whole or not at all, also if the process is killed in between.

    Args:
        file: The file; it is replaced if it is there.
        content: Its bytes, or a function that fills the file whose path it is given (on the system's disk).
        durable: Whether to return only when it would survive a power cut.
        disk: Where.

    Raises:
        OSError: As the system says; the file is as it was, and nothing is left beside it. So it is for every other
            error that the function raises.
    """
    temporary, descriptor = _new_beside(file, disk)
    try:
        try:
            if isinstance(content, bytes):
                write_all(descriptor, content, 0, disk)
                if durable:
                    disk.sync(descriptor)
        finally:
            disk.close(descriptor)
        if not isinstance(content, bytes):
            content(temporary)
            if durable:
                _sync_file(temporary, disk)
        move_into_place(temporary, file, durable=durable, disk=disk)
    except BaseException:
        with suppress(OSError):
            disk.remove(temporary)
        raise


def beside(file: Path) -> Path:
    """Return a name of its own in a file's folder, for what is to become that file: hidden, and told by `left_over`."""
    return file.with_name(f"{_hidden(file)}{_draws.getrandbits(32):08x}.tmp")


def make_beside(file: Path, disk: Disk = DISK) -> Path:
    """Make an empty file of our own beside a file, for what is to become that file, and return its name.

    Raises:
        OSError: As the system says.
    """
    temporary, descriptor = _new_beside(file, disk)
    disk.close(descriptor)
    return temporary


def _new_beside(file: Path, disk: Disk) -> tuple[Path, int]:
    """Make a file that was not there; a link that somebody put in its place is not followed."""
    for _ in range(TRIES):
        with suppress(FileExistsError):
            return (temporary := beside(file)), disk.open(temporary, new=True)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(temporary))


def move_into_place(temporary: Path, file: Path, *, durable: bool = False, disk: Disk = DISK) -> None:
    """Give a file that is complete, and synced where it must be, its name."""
    disk.replace(temporary, file)
    if durable:
        disk.sync_folder(file.parent)


def left_over(file: Path, disk: Disk = DISK) -> list[Path]:
    """Return what killed processes left of writing a file whole; another process may be writing one right now."""
    start = _hidden(file)
    found = [n for n in disk.names(file.parent) if n.startswith(start) and n.endswith(".tmp")]
    return [file.with_name(n) for n in found if len(n) == len(start) + 8 + len(".tmp")]


def _hidden(file: Path) -> str:
    return f".{os.fsdecode(os.fsencode(file.name)[:NAME_BYTES])}."


def _sync_file(file: Path, disk: Disk) -> None:
    descriptor = disk.open(file)
    try:
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def says_within(file: Path, mark: str, size: int) -> bool:
    """Return whether a text file has a mark within its first bytes, which says that we wrote it."""
    with file.open("rb") as opened:
        return mark.encode() in opened.read(size)


def lock_holder(file: Path, disk: Disk = DISK) -> int | None:
    """Return the id of the process that took the lock on a file last, or None when the file does not say."""
    try:
        return int(disk.content(file))
    except (OSError, ValueError):
        return None
