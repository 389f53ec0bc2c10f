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


def start(program, seconds, threads, seed, **environment):
    command = [BUILD / program, str(seconds), str(threads), str(seed), "--fork"]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)


def all_hold(processes, timeout):
    try:
        for process in processes:
            out, _ = process.communicate(timeout=timeout)
            assert process.returncode == 0, f"{process.args}: {out}"
    finally:
        for process in processes:
            process.kill()


def test_checking_build_and_release_library_beside_each_other():
    # COMPAT 77: for a short while
    all_hold([start("stress-core", 10, 1, 1), start("stress-core", 10, 8, 8), start("stress", 10, 8, 3, LD_PRELOAD=LIBRARY)],
             timeout=90)


@pytest.mark.slow
def test_checking_build_for_half_an_hour():
    # COMPAT 77
    all_hold([start("stress-core", 1800, 8, 5)], timeout=5400)
