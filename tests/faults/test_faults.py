"""System calls that fail, one after the other, under a workload of everything (faults.cc).

Always holds: for every kind of call, for each error of its manual page and of a sandbox, once and from then on: no crash
and no hang; requests are met, or refused with ENOMEM where the call is needed; no byte is lost; afterwards everything
works again and the process is no larger than without a fault. The walks leave out calls where there are many of them;
with --slow they leave out none with the first error of each kind.
"""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("POOLALLOC_TEST_BUILD", ROOT / "build/test")) / "tests/faults"
KINDS = subprocess.run([PROGRAM, "--list"], capture_output=True, text=True, timeout=60).stdout.split() \
    if PROGRAM.exists() else []
# Calls that every workload makes.
CERTAIN = {"mmap", "munmap", "mremap", "madvise", "futex-wait", "futex-look", "membarrier", "rt_sigprocmask", "write"}


def walk(kind, *arguments, timeout):
    result = subprocess.run([PROGRAM, kind, *arguments], capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, result.stdout + result.stderr
    return dict(reversed(word.split(" ", 1)) for word in result.stdout.split(": ")[2].strip().split(", "))


def test_the_program_is_built():
    assert KINDS, f"no {PROGRAM}: build with -Dtests=true -Dchecks=full"


@pytest.mark.parametrize("kind", KINDS)
def test_each_call_fails(kind):
    figures = walk(kind, "first", timeout=300)
    assert int(figures["calls"]) > 0 or kind not in CERTAIN, figures


@pytest.mark.parametrize("kind", KINDS)
def test_every_error(kind):
    walk(kind, "others", timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("errors", ["first", "others"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_fails(kind, errors):
    walk(kind, errors, "--every", timeout=7200)
