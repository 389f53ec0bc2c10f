"""A group of processes whose memory the kernel limits (COMPAT 56).

What always holds: the group is made below the tests' own one, of whichever version there is, and goes with the test; the
kernel has ended nothing in it; where no group can be made the tests are skipped.
"""
import contextlib
import errno
import os
import pathlib
import re
import time

import pytest

MIB = 1 << 20
ROOT = pathlib.Path("/sys/fs/cgroup")
# The names of a group's limit, and of how often the kernel has ended somebody.
FILES = {1: ("memory.limit_in_bytes", "memory.oom_control"), 2: ("memory.max", "memory.events")}


class Group:
    def __init__(self, path, version):
        self.path, self.version = path, version
        self.limit, self.events = FILES[version]

    def killed(self):
        return int(re.search(r"^oom_kill (\d+)", (self.path / self.events).read_text(), re.M)[1])

    def run(self, run, lib, *words, **env):
        """A program under the library in the group. The shell enters it before the library is there."""
        script = f'echo $$ > "{self.path}/cgroup.procs" && LD_PRELOAD="{lib}" exec "$@"'
        return run(["sh", "-c", script, "sh", *words], preload=False, env=env, timeout=120)


def parents():
    """Where a group might be made, and of which version."""
    own = pathlib.Path("/proc/self/cgroup").read_text()
    for names, path in re.findall(r"^\d+:([^:]*):/?(.*)$", own, re.M):
        if "memory" in names.split(","):
            yield ROOT / "memory" / path, 1
            yield ROOT / "memory", 1
        elif names == "":
            yield ROOT / path, 2
            yield ROOT, 2


@pytest.fixture
def group():
    made = None
    for parent, version in parents():
        path = parent / f"poolalloc-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            path.mkdir()
            made = Group(path, version)
            (path / made.limit).write_text(str(256 * MIB))
            assert (path / made.limit).read_text() == f"{256 * MIB}\n"
            break
        with contextlib.suppress(OSError):
            path.rmdir()
        made = None
    if made is None:
        pytest.skip("no cgroup can be made here")
    yield made
    until = time.monotonic() + 10
    while made.path.exists() and time.monotonic() < until:
        with contextlib.suppress(OSError):
            made.path.rmdir()
        time.sleep(0.05)


@pytest.mark.parametrize("purge", ["on", "eager", "off"])
def test_a_saw_tooth_below_the_limit_is_not_ended(run, build, lib, group, purge):
    # COMPAT 56
    before, times = group.killed(), 50 if purge == "on" else 12
    result = group.run(run, lib, build("saw_tooth.c"), 200, times, 20, POOLALLOC_PURGE=purge)
    if purge == "off":
        # Where nothing is given back each size has its own memory; the kernel must have ended it for that to be a test.
        assert result.rc == -9 and group.killed() > before, result
    else:
        assert result.ok().out == "20 0\n" and group.killed() == before


@pytest.mark.parametrize("limit", [":240M", ":90%"])
def test_a_limit_is_refused_before_the_kernel_ends_the_program(run, build, lib, group, limit):
    # COMPAT 56
    before = group.killed()
    result = group.run(run, lib, build("saw_tooth.c"), 180, 12, 1000, POOLALLOC_LIMIT=limit).ok()
    had, error = map(int, result.out.split())
    assert error == errno.ENOMEM and 190 <= had <= 240 and group.killed() == before


def test_without_the_option_the_kernel_ends_the_program(run, build, lib, group):
    # COMPAT 56: so the test before this one shows something
    before = group.killed()
    result = group.run(run, lib, build("saw_tooth.c"), 180, 1, 1000)
    assert result.rc == -9 and group.killed() > before, result
