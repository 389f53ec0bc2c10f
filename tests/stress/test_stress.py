"""The stress program: linked with the checking core, and with the release library preloaded.

Always holds: a violated pattern, alignment or zero makes it exit with a status other than 0.
"""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POOLALLOC_TEST_BUILD", ROOT / "build/test")) / "tests"
LIBRARY = os.environ.get("POOLALLOC_LIB", str(ROOT / "build/release/libpoolalloc.so"))


def stress(program, seconds, threads, seed, environment):
    command = [BUILD / program, str(seconds), str(threads), str(seed), "--fork"]
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True,
                            timeout=seconds * 3 + 60)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("threads", [1, 8])
def test_checking_build(threads):
    # COMPAT 77: for a short while
    stress("stress-core", 10, threads, threads, {})


def test_release_library():
    stress("stress", 10, 8, 3, {"LD_PRELOAD": LIBRARY})


@pytest.mark.slow
def test_checking_build_for_half_an_hour():
    # COMPAT 77
    stress("stress-core", 1800, 8, 5, {})
