"""A disk in memory that can lose its power.

support.files -> [disk] -> whoever tests what must survive
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import BinaryIO, NoReturn

from mblab.support.files import Lock

__all__ = ["MemoryDisk"]


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

    >>> from mblab.support.files import write_whole
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

    def open(self, file: Path, *, new: bool = False) -> int:
        folder = self._folder(file.parent)
        node = folder.names.get(file.name)
        if new and node is not None:
            _fail(errno.EEXIST, file)
        if isinstance(node, _Folder):
            _fail(errno.EISDIR, file)
        if node is None:
            node = _File(next(self._inodes))
            folder.change({file.name: node})
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

    def lock(self, file: Path, *, noted: bool = True) -> Lock | None:
        descriptor = self.open(file)
        node = self._open[descriptor]
        if node not in self._locked:
            if noted:
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
