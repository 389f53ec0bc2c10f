"""The library for aarch64, run by an emulator of programs (qemu-user).

Always holds: what fails here with libc's own malloc, too, is the emulator's limit and not asked for: a fork of a process that
has threads (it hangs), inaccessible pages by madvise (which it passes over, and says that it was done), figures of resident
memory (which are the emulator's, too).
"""
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests/compat/src"
GTEST = pathlib.Path("/usr/src/googletest/googletest")
NAME = "aarch64-linux-gnu"
EMULATOR = ["qemu-aarch64", "-L", f"/usr/{NAME}"]
CROSS = f"""[binaries]
c = '{NAME}-gcc'
cpp = '{NAME}-g++'
ar = '{NAME}-ar'
strip = '{NAME}-strip'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
"""
# Not fork_test, guard_test and program_heap_test (a child with threads ends in an assertion of the emulator, or hangs),
# holes_test (takes very long), many_cores_test (counts what happens once a second per million calls), profile_test and statistics_test.
UNIT = ["block_pool", "chunk", "evict", "extended", "large", "pool_chain", "remote_free", "retention", "size_class", "slice_word",
        "spares", "thread_heap"]
PROGRAMS = {
    "alignment_laws": [], "bare": [], "churn": [], "ended_pools": [], "fibres": [], "many_threads": ["1"], "own_malloc": [],
    "own_realloc": [], "owner_ends": ["5"], "realloc_matrix": ["classes"],
}
pytestmark = pytest.mark.slow


def run(*command, timeout=900):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result.stdout


def emulated(*command, library=None):
    return run(*EMULATOR, *(["-E", f"LD_PRELOAD={library}"] if library else []), *command)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The library and its tests with all checks."""
    folder = tmp_path_factory.mktemp("aarch64")
    (folder / "cross.ini").write_text(CROSS)
    for name, source in {"gtest": "gtest-all.cc", "gtest_main": "gtest_main.cc"}.items():
        run(f"{NAME}-g++", "-O1", f"-I{GTEST}", f"-I{GTEST}/include", "-c", GTEST / "src" / source, "-o", folder / f"{name}.o")
        run(f"{NAME}-ar", "rc", folder / f"lib{name}.a", folder / f"{name}.o")
    run("meson", "setup", folder / "b", ROOT, "--cross-file", folder / "cross.ini", "-Dtests=true", "-Dchecks=full",
        f"-Dcpp_args=-I{GTEST}/include", f"-Dcpp_link_args=-L{folder}")
    run("ninja", "-C", folder / "b")
    return folder / "b"


@pytest.mark.parametrize("name", UNIT)
def test_unit(build, name):
    assert "PASSED" in emulated(build / "tests" / f"{name}_test")


@pytest.mark.parametrize("library", ["libpoolalloc.so", "libpoolalloc-secure.so"])
def test_stress(build, library):
    emulated(build / "tests/stress", "5", "4", "1", library=build / library)


@pytest.mark.parametrize("name", PROGRAMS)
def test_laws_hold(build, tmp_path, name):
    run(f"{NAME}-gcc", "-std=gnu11", "-O1", "-fno-builtin", "-pthread", f"-I{SOURCES}", SOURCES / f"{name}.c",
        "-o", tmp_path / name)
    emulated(tmp_path / name, *PROGRAMS[name], library=build / "libpoolalloc.so")


def test_misuse_is_named_with_its_callers(build, tmp_path):
    (tmp_path / "twice.c").write_text(
        "#include <stdlib.h>\nint main(void) { void *volatile p = malloc(48); free(p); free(p); }\n")
    run(f"{NAME}-gcc", "-w", tmp_path / "twice.c", "-o", tmp_path / "twice")
    result = subprocess.run([*EMULATOR, "-E", f"LD_PRELOAD={build}/libpoolalloc.so", tmp_path / "twice"], capture_output=True,
                            text=True, timeout=60)
    assert result.returncode != 0 and "is free already" in result.stderr and "twice+0x" in result.stderr
