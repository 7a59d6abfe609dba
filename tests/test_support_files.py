"""What a disk promises, that the one in memory keeps it as the system's does, and what a power cut leaves."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mblab.support.files import (
    DISK,
    SystemDisk,
    beside,
    left_over,
    lock_holder,
    move_into_place,
    says_within,
    write_all,
    write_whole,
)
from mblab.testing import MemoryDisk

ROOT = Path("/d")


def tree(disk, root):
    """Every file with its bytes, by its path below the root."""
    found, folders = {}, [root]
    for folder in folders:
        for name in disk.names(folder):
            path = folder / name
            if disk.stat(path).st_mode & 0o170000 == 0o040000:
                folders.append(path)
                found[f"{path.relative_to(root)}/"] = None
            else:
                found[str(path.relative_to(root))] = disk.content(path)
    return found


def put(disk, file, data, *, sync=False):
    descriptor = disk.open(file)
    disk.truncate(descriptor, 0)
    write_all(descriptor, data, 0, disk)
    if sync:
        disk.sync(descriptor)
    disk.close(descriptor)


# -- the disk in memory is as the system's ------------------------------------------------------------------------

FILES = st.sampled_from(["a", "b", "self", "sub/a", "sub/deep/b", "none/a"])
FOLDERS = st.sampled_from([".", "sub", "sub/deep", "a", "none"])


class BothDisks(RuleBasedStateMachine):
    """The same operations on both give the same results, the same errors and the same files."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.real, self.memory = (SystemDisk(), Path(self.folder.name)), (MemoryDisk(ROOT), ROOT)
        self.descriptors, self.locks = [], {}

    def teardown(self):
        for real, _ in self.descriptors:
            os.close(real)
        for real, _ in self.locks.values():
            real.release()
        self.folder.cleanup()

    def both(self, act):
        """Do it on both; what comes back must be the same, also when it is an error."""
        results, answers = [], []
        for side, (disk, root) in enumerate((self.real, self.memory)):
            try:
                results.append(act(disk, root, side))
                answers.append("done")
            except OSError as error:
                results.append(None)
                answers.append(errno.errorcode[error.errno])
        assert answers[0] == answers[1]
        return results, answers[0] == "done"

    @rule(name=FILES, new=st.booleans())
    def open(self, name, new):
        descriptors, is_open = self.both(lambda disk, root, _: disk.open(root / name, new=new))
        if is_open:
            self.descriptors.append(descriptors)

    def of_one(self, which, act):
        if self.descriptors:
            pair = self.descriptors[which % len(self.descriptors)]
            results, _ = self.both(lambda disk, _, side: act(disk, pair[side]))
            assert results[0] == results[1]

    @rule(which=st.integers(0, 9), data=st.binary(max_size=6), at=st.integers(0, 9))
    def write(self, which, data, at):
        self.of_one(which, lambda disk, descriptor: disk.write(descriptor, data, at))

    @rule(which=st.integers(0, 9), size=st.integers(0, 12), at=st.integers(0, 12))
    def read(self, which, size, at):
        self.of_one(which, lambda disk, descriptor: disk.read(descriptor, size, at))

    @rule(which=st.integers(0, 9), size=st.integers(0, 12))
    def truncate(self, which, size):
        self.of_one(which, lambda disk, descriptor: disk.truncate(descriptor, size))

    @rule(which=st.integers(0, 9))
    def sync_and_size(self, which):
        self.of_one(which, lambda disk, descriptor: (disk.sync(descriptor), disk.stat(descriptor).st_size))

    @rule(which=st.integers(0, 9))
    def close(self, which):
        if self.descriptors:
            pair = self.descriptors.pop(which % len(self.descriptors))
            self.both(lambda disk, _, side: disk.close(pair[side]))

    @rule(name=FOLDERS)
    def make_folder(self, name):
        self.both(lambda disk, root, _: disk.make_folder(root / name))

    @rule(folder=FOLDERS, old=st.sampled_from("ab"), new=st.sampled_from("abc"))
    def replace(self, folder, old, new):
        real, root = self.real
        if not (root / folder / old).is_dir():
            self.both(lambda disk, root, _: disk.replace(root / folder / old, root / folder / new))

    @rule(name=FILES)
    def remove(self, name):
        if not (self.real[1] / name).is_dir():
            self.both(lambda disk, root, _: disk.remove(root / name))

    @rule(name=FILES, data=st.binary(max_size=6), durable=st.booleans())
    def write_whole(self, name, data, durable):
        self.both(lambda disk, root, _: write_whole(root / name, data, durable=durable, disk=disk))

    @rule(name=FOLDERS)
    def names(self, name):
        results, _ = self.both(lambda disk, root, _: (disk.names(root / name), disk.sync_folder(root / name))[0])
        assert results[0] == results[1]

    @rule(name=st.sampled_from(["lock", "sub/lock"]))
    def lock(self, name):
        locks, done = self.both(lambda disk, root, _: disk.lock(root / name))
        assert [lock is None for lock in locks] == [name in self.locks or not done] * 2
        if done and None not in locks:
            self.locks[name] = locks

    @rule(name=st.sampled_from(["lock", "sub/lock"]))
    def release(self, name):
        for lock in self.locks.pop(name, ()):
            lock.release()

    @invariant()
    def same_files(self):
        if hasattr(self, "real"):
            assert tree(*self.real) == tree(*self.memory)


TestBothDisks = BothDisks.TestCase
TestBothDisks.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


# -- a power cut --------------------------------------------------------------------------------------------------


def disk_with(**files):
    """A disk in memory on which these files survive."""
    disk = MemoryDisk(ROOT)
    for name, data in files.items():
        put(disk, ROOT / name, data, sync=True)
    disk.sync_folder(ROOT)
    return disk


def test_what_was_not_synced_is_gone():
    """Bytes, a new name, a rename and a removal: all as before."""
    disk = disk_with(a=b"old", b=b"b", c=b"c")
    put(disk, ROOT / "a", b"new")
    put(disk, ROOT / "n", b"n", sync=True)  # its bytes are there, its name is not
    disk.replace(ROOT / "b", ROOT / "c")
    disk.cut_power()

    assert tree(disk, ROOT) == {"a": b"old", "b": b"b", "c": b"c"}


def test_a_name_may_come_through_without_its_bytes():
    """The classic: renamed, the folder synced, the file not, and it is empty."""
    disk = disk_with(a=b"old")
    put(disk, ROOT / "t", b"new")
    disk.replace(ROOT / "t", ROOT / "a")
    disk.sync_folder(ROOT)
    disk.cut_power()

    assert tree(disk, ROOT) == {"a": b""}


@pytest.mark.parametrize(
    ("kept", "zeros", "left"),
    [
        (0, False, b"one"),
        (2, False, b"onetw"),
        (5, False, b"onetwoth"),
        (0, True, b"one\0\0\0\0\0\0\0\0"),
        (4, True, b"onetwot\0\0\0\0"),
    ],
)
def test_a_tail_may_be_torn_or_zeros(kept, zeros, left):
    """Up to some byte, across writes; a length that was noted before its bytes leaves zeros."""
    disk = disk_with(a=b"one")
    descriptor = disk.open(ROOT / "a")
    disk.write(descriptor, b"two", 3)
    disk.write(descriptor, b"three", 6)
    disk.cut_power(lambda most: min(kept, most), zeros=zeros)

    assert disk.content(ROOT / "a") == left


def test_a_cut_may_be_lost_too():
    """A file that was made shorter has its old tail again."""
    disk = disk_with(a=b"longer")
    disk.truncate(disk.open(ROOT / "a"), 2)
    disk.cut_power()

    assert disk.content(ROOT / "a") == b"longer"


def test_descriptors_and_locks_are_gone_with_the_power():
    """The process is."""
    disk = disk_with(a=b"a")
    descriptor = disk.open(ROOT / "a")
    assert disk.lock(ROOT / "lock")
    assert disk.lock(ROOT / "lock") is None
    disk.cut_power()

    assert disk.lock(ROOT / "lock")
    with pytest.raises(OSError, match="Bad file descriptor"):
        disk.write(descriptor, b"x", 0)


@given(st.binary(max_size=20), st.binary(max_size=20), st.data())
@settings(max_examples=100, deadline=None)
def test_a_file_written_whole_and_durable_is_the_new_one_after_any_power_cut(old, new, data):
    """Whatever part of the rest reached the disk."""
    disk = MemoryDisk(ROOT)
    write_whole(ROOT / "a", old, durable=True, disk=disk)
    write_whole(ROOT / "a", new, durable=True, disk=disk)
    disk.cut_power(lambda most: data.draw(st.integers(0, most)), zeros=data.draw(st.booleans()))

    assert tree(disk, ROOT) == {"a": new}


class Interrupted(BaseException):
    """Nothing may catch this."""


class FailingDisk(MemoryDisk):
    """A disk whose n-th call that changes something fails, or after which the power is cut."""

    def __init__(self, fail_at, failure):
        super().__init__(ROOT)
        self.left, self.failure = fail_at, failure

    def tick(self):
        self.left -= 1
        if self.left == 0:
            raise self.failure

    def write(self, descriptor, data, at):
        self.tick()
        return super().write(descriptor, data[:3], at)  # and few at a time

    def sync(self, descriptor):
        self.tick()
        super().sync(descriptor)

    def replace(self, old, new):
        self.tick()
        super().replace(old, new)

    def sync_folder(self, folder):
        self.tick()
        super().sync_folder(folder)


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), Interrupted()])
def test_a_file_written_whole_is_old_or_new_at_any_failure(failure):
    """For every n, the n-th write, sync or rename fails: nothing is beside it, and after a power cut it is the old or the new one."""
    n, finished = 0, False
    while not finished:
        n += 1
        disk = FailingDisk(0, failure)
        write_whole(ROOT / "a", b"old rows", durable=True, disk=disk)
        disk.left = n
        try:
            write_whole(ROOT / "a", b"new rows", durable=True, disk=disk)
            finished = True
        except type(failure):
            pass
        assert set(tree(disk, ROOT)) == {"a"}
        assert disk.content(ROOT / "a") in (b"old rows", b"new rows")
        disk.cut_power()
        assert disk.content(ROOT / "a") == (b"new rows" if finished else b"old rows")

    assert n == 3 + 1 + 1 + 1 + 1  # writes, sync, rename, sync of the folder, and one without a failure


def test_without_durable_nothing_waits_for_the_disk():
    """The plain path costs no sync."""
    disk = FailingDisk(0, Interrupted())
    disk.sync = disk.sync_folder = None

    write_whole(ROOT / "a", b"rows", disk=disk)

    assert disk.content(ROOT / "a") == b"rows"


# -- written whole, on the system's disk --------------------------------------------------------------------------


def test_a_function_may_write_the_file(tmp_path):
    """For libraries that want a path; the file appears when they are done."""
    file = tmp_path / "a.txt"
    file.write_text("old")

    write_whole(file, lambda path: (path.write_text("new"), file.read_text() == "old" or pytest.fail("too early")))

    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, OSError])
def test_a_function_that_fails_leaves_nothing(tmp_path, failure):
    """Nothing beside it, and the old file as it was."""
    file = tmp_path / "a.txt"
    file.write_text("old")

    def write(path):
        path.write_text("half")
        raise failure

    with pytest.raises(failure):
        write_whole(file, write, durable=True)

    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_name_of_255_bytes_can_be_written_whole(tmp_path):
    """The name beside it is no longer than a name may be."""
    file = tmp_path / ("ä" * 127)
    write_whole(file, b"rows", durable=True)

    assert file.read_bytes() == b"rows"


def test_what_a_killed_process_left_is_found_by_the_name_it_was_for(tmp_path):
    """And nothing else is."""
    file, other = tmp_path / "a", tmp_path / "ab"
    for named in (file, other):
        beside(named).write_text("half")
    (tmp_path / ".a.mine.tmp").write_text("mine")
    (left,) = left_over(file)
    move_into_place(left, file)

    assert file.read_text() == "half"
    assert left_over(file) == []
    assert len(left_over(other)) == 1


def test_a_mark_counts_within_the_first_bytes(tmp_path):
    """Further down it may be anything's."""
    file = tmp_path / "a"
    file.write_text("x" * 10 + "mine")

    assert says_within(file, "mine", 14)
    assert not says_within(file, "mine", 13)


# -- locks --------------------------------------------------------------------------------------------------------


def test_a_lock_is_held_once_and_names_its_holder(tmp_path):
    """By the process; releasing twice is fine, and the file stays."""
    file = tmp_path / "lock"
    lock = DISK.lock(file)

    assert lock is not None
    assert DISK.lock(file) is None
    assert lock_holder(file) == os.getpid()
    lock.release()
    lock.release()
    again = DISK.lock(file)
    assert again is not None
    again.release()
    assert file.exists()


def test_a_lock_that_nobody_took_names_nobody(tmp_path):
    """No file, an empty one, one of somebody else's."""
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("me")

    assert [lock_holder(tmp_path / name) for name in ("none", "empty", "text")] == [None] * 3


def test_no_descriptor_is_left_of_a_lock_that_was_refused(tmp_path):
    """However often it is tried."""
    lock = DISK.lock(tmp_path / "lock")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert DISK.lock(tmp_path / "lock") is None

    assert len(os.listdir("/proc/self/fd")) == before
    lock.release()


HOLD = """
    import os, sys, time
    from pathlib import Path
    from mblab.support.files import DISK
    lock = DISK.lock(Path(sys.argv[1]))
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read(1)
    if sys.argv[2] == "close":
        lock.release()
        print("released", flush=True)
        sys.stdin.read(1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("end", ["kill", "close"])
def test_a_lock_dies_with_its_holder_though_a_forked_child_lives(tmp_path, end):
    """The child has copies of all descriptors; with one of the lock's it would keep it for ever."""
    file = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(file), end], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child = int(holder.stdout.readline())
    try:
        assert DISK.lock(file) is None  # nor did the child's closing its copy free it
        assert lock_holder(file) == holder.pid
        if end == "kill":
            holder.kill()
            holder.wait()
        else:
            holder.stdin.write(b"x")
            holder.stdin.flush()
            assert holder.stdout.readline() == b"released\n"
        os.kill(child, 0)  # it lives
        lock = DISK.lock(file)
        until = time.monotonic() + 20
        while end == "kill" and lock is None and time.monotonic() < until:  # the child may not have run at all yet
            time.sleep(0.01)
            lock = DISK.lock(file)
        assert lock is not None
        lock.release()
    finally:
        os.kill(child, signal.SIGKILL)
        holder.kill()
        holder.communicate()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_may_take_the_lock_when_its_parent_lets_it_go(tmp_path):
    """In the child the inherited lock is a released one: releasing it there takes nothing from the parent."""
    file = tmp_path / "lock"
    lock = DISK.lock(file)
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        lock.release()
        os.write(writes, b"1" if DISK.lock(file) is None else b"0")
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reads, 1) == b"1"
    lock.release()
    os.close(reads), os.close(writes)
