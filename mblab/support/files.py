"""Files that last: whole or not there, there after a power cut when that was asked for, and one writer at a time.

Everything durable goes through a `Disk`. There are two: `DISK`, the system's, and `MemoryDisk`, which tests give to the
same code to see what a power cut leaves of it.

    sinks, recordings, saved runs, exports -> [files] -> the system
"""

from __future__ import annotations

import errno
import io
import os
import random
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final, NoReturn, Protocol

__all__ = [
    "DISK",
    "Disk",
    "Lock",
    "MemoryDisk",
    "SystemDisk",
    "beside",
    "left_over",
    "lock_holder",
    "move_into_place",
    "says_within",
    "write_all",
    "write_whole",
]

NAME_BYTES: Final = 240  # of a file's name go into that of the file beside it; a name may have 255
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

    def open(self, file: Path, *, empty: bool = False) -> int:
        """Open a file to read and write; make it when it is not there, and `empty` it when that is asked for."""
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

    def lock(self, file: Path) -> Lock | None:
        """Take the lock on a file, or return None when somebody has it; `lock_holder` says who.

        The file is made when it is not there, and is never removed: two processes could hold a lock on one name.
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

    def open(self, file: Path, *, empty: bool = False) -> int:
        return os.open(file, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if empty else 0) | getattr(os, "O_BINARY", 0), 0o666)

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

    def lock(self, file: Path) -> Lock | None:
        with _locking:
            descriptor = self.open(file)
            try:
                lock = _SystemLock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            try:
                if lock.is_taken:
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
    temporary = beside(file)
    try:
        if isinstance(content, bytes):
            descriptor = disk.open(temporary, empty=True)
            try:
                write_all(descriptor, content, 0, disk)
                if durable:
                    disk.sync(descriptor)
            finally:
                disk.close(descriptor)
        else:
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


# -- one in memory ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _File:
    """Bytes as everybody sees them, as a power cut leaves them, and the changes between the two, in order."""

    inode: int
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, bytes) written, or (size, None) cut

    def change(self, at: int, data: bytes | None) -> None:
        self.since.append((at, data))
        _apply(self.data, at, data)


@dataclass(eq=False)
class _Folder:
    """Names as everybody sees them, as a power cut leaves them, and the changes between the two, in order."""

    inode: int
    names: dict[str, _File | _Folder] = field(default_factory=dict)
    synced: dict[str, _File | _Folder] = field(default_factory=dict)
    since: list[dict[str, _File | _Folder | None]] = field(default_factory=list)  # each at once; None: taken away

    def change(self, names: dict[str, _File | _Folder | None]) -> None:
        self.since.append(names)
        _rename(self.names, names)


def _apply(content: bytearray, at: int, data: bytes | None) -> None:
    end = at + len(data or b"")
    if data is None:
        del content[at:]
    if end > len(content):
        content.extend(bytes(end - len(content)))
    if data is not None:
        content[at:end] = data


def _rename(names: dict[str, _File | _Folder], change: dict[str, _File | _Folder | None]) -> None:
    for name, node in change.items():
        if node is None:
            del names[name]
        else:
            names[name] = node


class MemoryDisk:
    """A disk in memory, which can lose its power: for tests of what must survive that.

    A file's bytes reach the disk in the order in which they were written, up to some byte; so do the changes of a
    folder's names. Files and folders do not wait for each other.

    Args:
        root: The one folder that is there from the start, absolute.

    >>> disk, file = MemoryDisk(Path("/out")), Path("/out/rows.csv")
    >>> write_whole(file, b"at,who", durable=True, disk=disk)
    >>> write_whole(file, b"at,who,when", disk=disk)
    >>> disk.content(file)
    b'at,who,when'
    >>> disk.cut_power()
    >>> disk.content(file)
    b'at,who'
    """

    def __init__(self, root: Path) -> None:
        self._inodes, self._descriptors = count(1), count(3)
        self._root, self._top = root, _Folder(next(self._inodes))
        self._open: dict[int, _File] = {}
        self._locked: dict[_File, _MemoryLock] = {}

    def cut_power(self, came_through: Callable[[int], int] | None = None, *, zeros: bool = False) -> None:
        """Lose what was not synced, and with it all descriptors and locks.

        Args:
            came_through: came_through(n) says how many of n things in a row were on the disk all the same: changes of a
                folder's names, or bytes of a file (a cut counts as one). Left out, none.
            zeros: Whether a file keeps its length, with zeros where bytes were lost at its end.
        """
        self._open.clear()
        self._locked.clear()
        self._lose(self._top, came_through or (lambda _: 0), zeros=zeros)

    def _lose(self, node: _File | _Folder, came_through: Callable[[int], int], *, zeros: bool) -> None:
        if isinstance(node, _Folder):
            for change in node.since[: came_through(len(node.since))]:
                _rename(node.synced, change)
            node.names, node.since = dict(node.synced), []
            for inside in node.names.values():
                self._lose(inside, came_through, zeros=zeros)
            return
        left = came_through(sum(1 if data is None else len(data) for _, data in node.since))
        data = bytearray(node.synced)
        for at, piece in node.since:
            if left <= 0:
                break
            _apply(data, at, piece if piece is None else piece[:left])
            left -= 1 if piece is None else len(piece)
        if zeros:
            data.extend(bytes(max(0, len(node.data) - len(data))))
        node.data, node.synced, node.since = data, bytes(data), []

    def open(self, file: Path, *, empty: bool = False) -> int:
        folder = self._folder(file.parent)
        node = folder.names.get(file.name)
        if isinstance(node, _Folder):
            _fail(errno.EISDIR, file)
        if node is None:
            node = _File(next(self._inodes))
            folder.change({file.name: node})
        elif empty and node.data:
            node.change(0, None)
        descriptor = next(self._descriptors)
        self._open[descriptor] = node
        return descriptor

    def close(self, descriptor: int) -> None:
        self._opened(descriptor)
        del self._open[descriptor]

    def read(self, descriptor: int, size: int, at: int) -> bytes:
        return bytes(self._opened(descriptor).data[at : at + size])

    def write(self, descriptor: int, data: bytes | memoryview, at: int) -> int:
        node = self._opened(descriptor)
        if data:
            node.change(at, bytes(data))
        return len(data)

    def truncate(self, descriptor: int, size: int) -> None:
        node = self._opened(descriptor)
        if size != len(node.data):
            node.change(size, None)

    def sync(self, descriptor: int) -> None:
        node = self._opened(descriptor)
        node.synced, node.since = bytes(node.data), []

    def stat(self, file: Path | int) -> os.stat_result:
        node = self._opened(file) if isinstance(file, int) else self._find(file)
        if isinstance(node, _Folder):
            return os.stat_result((stat.S_IFDIR | 0o755, node.inode, 0, 1, 0, 0, 0, 0, 0, 0))
        return os.stat_result((stat.S_IFREG | 0o644, node.inode, 0, 1, 0, 0, len(node.data), 0, 0, 0))

    def content(self, file: Path) -> bytes:
        node = self._find(file)
        return bytes(node.data) if isinstance(node, _File) else _fail(errno.EISDIR, file)

    def reader(self, file: Path) -> BinaryIO:
        return io.BytesIO(self.content(file))

    def names(self, folder: Path) -> list[str]:
        return sorted(self._folder(folder).names)

    def make_folder(self, folder: Path) -> None:
        missing = [f for f in (folder, *folder.parents) if f.is_relative_to(self._root) and not self._is_there(f)]
        for made in reversed(missing):
            self._folder(made.parent).change({made.name: _Folder(next(self._inodes))})
        if isinstance(self._find(folder), _File):
            _fail(errno.EEXIST, folder)

    def replace(self, old: Path, new: Path) -> None:
        node, folder = self._find(old), self._folder(new.parent)
        if isinstance(node, _File) and isinstance(folder.names.get(new.name), _Folder):
            _fail(errno.EISDIR, new)
        if old.parent != new.parent or isinstance(node, _Folder):
            _fail(errno.EXDEV, new)  # here only files move, and only within their folder: nothing durable needs more
        if old != new:
            folder.change({old.name: None, new.name: node})

    def remove(self, file: Path) -> None:
        if isinstance(self._find(file), _Folder):
            _fail(errno.EISDIR, file)
        self._folder(file.parent).change({file.name: None})

    def sync_folder(self, folder: Path) -> None:
        node = self._folder(folder)
        node.synced, node.since = dict(node.names), []

    def lock(self, file: Path) -> Lock | None:
        descriptor = self.open(file)
        node = self._open[descriptor]
        if node not in self._locked:
            self.truncate(descriptor, 0)
            self.write(descriptor, f"{os.getpid()}\n".encode(), 0)
            self._locked[node] = _MemoryLock(self._locked, node)
        else:
            self.close(descriptor)
            return None
        self.close(descriptor)
        return self._locked[node]

    def files(self) -> Iterator[Path]:
        """Yield every file that is there."""
        folders = [self._root]
        for folder in folders:
            for name, node in sorted(self._folder(folder).names.items()):
                if isinstance(node, _Folder):
                    folders.append(folder / name)
                else:
                    yield folder / name

    def _opened(self, descriptor: int) -> _File:
        if descriptor not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._open[descriptor]

    def _is_there(self, path: Path) -> bool:
        try:
            self._find(path)
        except FileNotFoundError:
            return False
        return True

    def _find(self, path: Path) -> _File | _Folder:
        node: _File | _Folder = self._top
        if not path.is_relative_to(self._root):
            _fail(errno.ENOENT, path)
        for name in path.relative_to(self._root).parts:
            if isinstance(node, _File):
                _fail(errno.ENOTDIR, path)
            if name not in node.names:
                _fail(errno.ENOENT, path)
            node = node.names[name]
        return node

    def _folder(self, path: Path) -> _Folder:
        node = self._find(path)
        return node if isinstance(node, _Folder) else _fail(errno.ENOTDIR, path)


class _MemoryLock:
    """A lock by the file it is on."""

    def __init__(self, locked: dict[_File, _MemoryLock], file: _File) -> None:
        self._locked, self._file = locked, file

    def release(self) -> None:
        if self._locked.get(self._file) is self:
            del self._locked[self._file]


def _fail(number: int, path: Path) -> NoReturn:
    raise OSError(number, os.strerror(number), str(path))
