"""The GoogleTest binaries, one pytest case per GoogleTest case, so that -k finds them by name.

Always holds: every binary that the build made is asked for its cases; none is left out silently.
"""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POOLALLOC_TEST_BUILD", ROOT / "build/test"))
BINARIES = sorted(path for path in (BUILD / "tests").rglob("*_test") if os.access(path, os.X_OK) and path.is_file())


def cases(binary):
    suite = None
    listing = subprocess.run([binary, "--gtest_list_tests"], capture_output=True, text=True, check=True, timeout=60)
    for line in listing.stdout.splitlines():
        if line.startswith("  "):
            yield suite + line.split("#")[0].strip()
        elif line.rstrip().endswith("."):
            suite = line.strip()


ALL = [pytest.param(binary, case, id=f"{binary.name}-{case}") for binary in BINARIES for case in cases(binary)]


def test_binaries_are_built():
    assert BINARIES, f"no unit tests in {BUILD}: build with -Dtests=true"


@pytest.mark.parametrize("library", ["", "libpoolalloc-secure.so"], ids=["", "secure"])
@pytest.mark.parametrize("name", ["api_c11", "api_cxx17", "api_resources_17", "api_resources_20"])
def test_public_header(name, library):
    environment = {**os.environ, "LD_PRELOAD": str(BUILD / library)} if library else None
    result = subprocess.run([BUILD / "tests" / name], env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("binary, case", ALL)
def test_case(binary, case):
    result = subprocess.run([binary, f"--gtest_filter={case}"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
