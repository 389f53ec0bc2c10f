"""Pages of 16 and 64 KiB, as kernels of other processors have them (COMPAT 61).

Always holds: the build with all checks plays such a kernel (lib/os/tested_pages.h): each call that maps, unmaps, moves,
protects or advises must be about whole pages of that size, or the program ends with a message; hints are below what
the kernel hands out unasked (2^47 on x86-64), so addresses are, too, where processors have longer ones.
"""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POOLALLOC_TEST_BUILD", ROOT / "build/test"))
LIBRARY, SECURE = BUILD / "libpoolalloc.so", BUILD / "libpoolalloc-secure.so"
SIZES = [16 << 10, 64 << 10]
# What is about pages; the others take long or have none.
QUICK = {"chunk_test", "evict_test", "extent_test", "guard_test", "large_test", "profile_test", "thread_heap_test"}
UNIT = sorted(path.name for path in (BUILD / "tests").glob("*_test") if os.access(path, os.X_OK))
VALLOC = """import ctypes
libc = ctypes.CDLL(None)
libc.valloc.restype = ctypes.c_size_t
print(max(libc.valloc(100) % int({}) for _ in range(32)))"""


def run(size, *command, timeout=600, **environment):
    environment = {**os.environ, "POOLALLOC_TEST_PAGE_SIZE": str(size), **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)


def holds(size, *command, **how):
    result = run(size, *command, **how)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


@pytest.mark.parametrize("size", SIZES)
def test_pages_are_that_large(size):
    assert int(holds(size, sys.executable, "-c", VALLOC.format(size), LD_PRELOAD=str(LIBRARY))) == 0
    assert int(holds(4096, sys.executable, "-c", VALLOC.format(size), LD_PRELOAD=str(LIBRARY))) != 0


@pytest.mark.parametrize("size", [4097, 2048, 128 << 10])
def test_a_size_that_no_kernel_has_is_refused(size):
    result = run(size, sys.executable, "-c", "pass", LD_PRELOAD=str(LIBRARY))
    assert result.returncode != 0 and "internal check failed" in result.stderr


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in UNIT])
def test_unit(name, size):
    holds(size, BUILD / "tests" / name)


def test_there_are_unit_tests():
    assert QUICK <= set(UNIT), f"no unit tests in {BUILD}: build with -Dtests=true -Dchecks=full"


@pytest.mark.parametrize("size", SIZES)
def test_stress(size):
    holds(size, BUILD / "tests/stress-core", "3", "4", "1", "--fork")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("library", [LIBRARY, SECURE], ids=["ordinary", "secure"])
def test_stress_gives_everything_back(library, size):
    holds(size, BUILD / "tests/stress", "3", "4", "2", "--fork", LD_PRELOAD=str(library), POOLALLOC_PURGE="eager")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["mmap", "munmap", "mremap", "madvise", "memory", "optional"])
def test_each_call_fails(kind, size):
    holds(size, BUILD / "tests/faults", kind, "first", timeout=1500)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("file", ["test_semantics.py", "test_processes.py", "test_threads.py"])
def test_compatibility(file, size):
    holds(size, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ROOT / "tests/compat" / file, timeout=1500,
          POOLALLOC_LIB=str(LIBRARY))
