"""The soak program, for seconds: a service whose days are all the same, with an account of its own.

Always holds: days as short as these are not judged by how flat memory stays, which tests/stress/run_soak does; here the
account must be equal to the library's statistics at every rest, all that can happen must have happened, memory must go back
in the end, and what is planted must be noticed.
"""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("POOLALLOC_TEST_BUILD", ROOT / "build/test")) / "tests/soak"
RELEASE = pathlib.Path(os.environ.get("POOLALLOC_LIB", ROOT / "build/release/libpoolalloc.so"))
SECURE = pathlib.Path(os.environ.get("POOLALLOC_SECURE_LIB", RELEASE.with_name("libpoolalloc-secure.so")))
CHECKING = PROGRAM.parents[1] / "libpoolalloc.so"
# A part of the service is quick, and has all that the whole has.
PER_CENT = 5


def soak(library, seconds, seed, *arguments, **environment):
    preload = {"LD_PRELOAD": str(library)} if library else {}
    command = [PROGRAM, str(seconds / 60), str(seed), str(PER_CENT), *arguments]
    return subprocess.run(command, env={**os.environ, **preload, **environment}, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("library", [RELEASE, CHECKING, SECURE], ids=["release", "checking", "secure"])
def test_account_is_equal(library):
    result = soak(library, 3, 1)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(re.findall(r"^day ", result.stdout, re.MULTILINE)) == 4
    assert int(re.search(r"^(\d+) comparisons of the account", result.stdout, re.MULTILINE).group(1)) > 150
    assert re.fullmatch(r"soak: PASSED after \d+ s: the account was equal", result.stdout.splitlines()[-1])


def test_another_allocator_has_no_statistics():
    result = soak(None, 1, 2)
    assert result.stdout.endswith(": there was nothing to compare the account with\n")
    assert "VIOLATED" not in result.stdout and result.stderr == ""


def test_a_leak_is_noticed():
    result = soak(RELEASE, 1, 3, "--forget", "64")
    assert result.returncode == 1
    assert re.search(r"^soak: NOT EQUAL: at rest: blocks of 64 bytes: the library says \d+", result.stdout, re.MULTILINE)


def test_memory_that_is_not_given_back_is_noticed():
    result = soak(RELEASE, 1, 4, POOLALLOC_PURGE="off")
    assert result.returncode == 1, result.stdout
    assert "soak: NOT GIVEN BACK: too much when all was freed\n" in result.stdout
