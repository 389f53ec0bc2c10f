"""The ordinary library under the misuse that the hardened one is tested with (COMPAT 76).

What always holds: a program that misuses memory gets to its end, or is ended by a signal, and never loops or waits; what is
said is said in lines of the library's. What the hardened library notices of each kind is in test_secure.py.
"""
import os
import pathlib
import signal
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
LIB = os.environ.get("POOLALLOC_LIB")
SIZES = [0, 1, 24, 100, 1000, 5000, 65528, 300000]
WRITES = ["overflow", "underflow", "overflow-next", "underflow-next"]
KINDS = [(kind, count) for kind in WRITES for count in (1, 8, 32, 4096)] + \
        [(kind, 0) for kind in ("none", "double", "delayed", "reused", "inside", "unaligned", "last", "later", "read",
                                "write", "freed-read", "freed-write", "wrong")]
PAIRS = [("malloc", "free"), ("calloc", "realloc"), ("memalign", "cfree"), ("realloc", "free_sized"), ("new", "delete"),
         ("new[]", "delete[]-sized"), ("new-aligned", "delete-aligned"), ("malloc", "delete"), ("new", "free"),
         ("new[]", "delete")]
# The program has not got its block again, or could not.
GAVE_UP = {7}

pytestmark = pytest.mark.skipif(not LIB, reason="POOLALLOC_LIB names no library")


@pytest.fixture(scope="session")
def hardened(tmp_path_factory):
    """The program of the hardened library's tests."""
    built = os.environ.get("POOLALLOC_DEATH_PROGRAMS")
    if built:
        return pathlib.Path(built) / "death_hardened"
    path = tmp_path_factory.mktemp("ordinary") / "hardened"
    flags = ["-std=c++17", "-O0", "-fno-builtin", "-w", "-pthread"]
    subprocess.run(["c++", *flags, HERE / "hardened.cc", "-o", path], check=True)
    return path


def misused(program, kind, size, make, free, where, count, policy):
    """How it ended; a minute is more than any of them needs."""
    env = {"LD_PRELOAD": LIB, "POOLALLOC_MISUSE": policy}
    result = subprocess.run([program, kind, str(size), make, free, where, str(count)], env=env, capture_output=True,
                            text=True, errors="replace", timeout=60)
    if result.returncode == 0:
        assert result.stdout.endswith("alive\n"), result
    else:
        assert result.returncode in {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS} | GAVE_UP, result
    assert result.returncode != -signal.SIGABRT or policy == "abort" and result.stderr, result
    assert all(line.startswith("poolalloc: ") for line in result.stderr.splitlines()), result
    return result


@pytest.mark.parametrize("policy", ["abort", "warn", "ignore"])
@pytest.mark.parametrize("kind, count", KINDS)
def test_nothing_loops(hardened, kind, count, policy):
    for turn, size in enumerate(size for size in SIZES if kind != "reused" or size <= 5000):
        make, free = PAIRS[turn % len(PAIRS)]
        where = ("here", "thread", "made")[turn % 3]
        result = misused(hardened, kind, size, make, free, where, count, policy)
        if kind == "none":
            assert (result.returncode, result.stderr) == (0, ""), result


@pytest.mark.parametrize("make, free", PAIRS)
def test_nothing_loops_whoever_has_made_it(hardened, make, free):
    for size in SIZES:
        for kind in ("none", "double", "inside", "wrong"):
            result = misused(hardened, kind, size, make, free, "here", 0, "abort")
            if kind == "double" and size and size != 300000:
                assert result.returncode == -signal.SIGABRT and "is free already" in result.stderr, result
