"""What the library says and does when it is misused: one small program per misuse, run with it preloaded.

What always holds:
* Both how a program ended and all that it wrote to stderr are compared exactly.
* The library is $POOLALLOC_LIB; the programs lie in $POOLALLOC_DEATH_PROGRAMS as death_NAME, or are compiled.
* $POOLALLOC_CHECKS is the library's -Dchecks; what only the checking builds find is skipped elsewhere.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
LIB = os.environ.get("POOLALLOC_LIB")
CHECKS = os.environ.get("POOLALLOC_CHECKS", "none")
FLAGS = ["-O0", "-fno-builtin", "-w"]

MISUSES = {
    "free_stack": "free",
    "free_static": "free",
    "free_interior_8": "free",
    "free_interior_16": "free",
    "free_interior_large": "free",
    "free_interior_mapped": "free",
    "free_released_large": "free",
    "free_released_mapped": "free",
    "free_released_pool": "free",
    "realloc_foreign": "realloc",
    "usable_size_foreign": "malloc_usable_size",
}

pytestmark = pytest.mark.skipif(not LIB, reason="POOLALLOC_LIB names no library")


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """program(name): the path of a misuse's program."""
    built = os.environ.get("POOLALLOC_DEATH_PROGRAMS")
    if built:
        return lambda name: pathlib.Path(built) / f"death_{name}"
    directory = tmp_path_factory.mktemp("death")

    def compiled(name):
        path = directory / name
        if not path.exists():
            subprocess.run(["cc", *FLAGS, HERE / f"{name}.c", "-o", path], check=True)
        return path
    return compiled


def run(path, **options):
    """Runs a program with the library preloaded and POOLALLOC_<OPTION>=value for each option."""
    env = {"LD_PRELOAD": LIB, **{f"POOLALLOC_{name.upper()}": value for name, value in options.items()}}
    return subprocess.run([path], env=env, capture_output=True, text=True, timeout=60)


def invalid_pointer(function, address):
    return f"poolalloc: {function}(): invalid pointer {address}: not the start of a block of this allocator\n"


@pytest.mark.parametrize("name", MISUSES)
def test_abort_says_what_is_wrong_and_aborts(program, name):
    result = run(program(name), foreign="abort")
    assert result.stderr == invalid_pointer(MISUSES[name], result.stdout.split()[0])
    assert result.returncode == -signal.SIGABRT
    assert "alive" not in result.stdout


@pytest.mark.parametrize("options", [{}, {"foreign": "warn"}], ids=["by default", "warn"])
@pytest.mark.parametrize("name", MISUSES)
def test_warn_says_so_once_and_the_program_goes_on(program, name, options):
    result = run(program(name), **options)
    assert result.stderr == invalid_pointer(MISUSES[name], result.stdout.split()[0])
    assert result.returncode == 0
    assert result.stdout.endswith("alive\n")


@pytest.mark.parametrize("name", MISUSES)
def test_ignore_is_silent_and_the_program_goes_on(program, name):
    result = run(program(name), foreign="ignore")
    assert result.stderr == ""
    assert result.returncode == 0
    assert result.stdout.endswith("alive\n")


def test_invalid_pointers_are_counted(program):
    result = run(program("free_static"), foreign="ignore", stats="1")
    assert result.returncode == 0
    assert result.stderr.endswith("poolalloc:   invalid frees   2\n")


@pytest.mark.skipif(CHECKS != "full", reason="only -Dchecks=full walks the lists")
def test_a_double_free_is_found_by_the_checking_build(program):
    result = run(program("double_free"))
    assert re.fullmatch(r"poolalloc: internal check failed: heap_is_valid\(heap\) at \S*lib/heap/heap\.cc:\d+\n"
                        .replace("heap\\)", r"\*?heap\)"), result.stderr), result.stderr
    assert result.returncode == -signal.SIGABRT


# --- Options -------------------------------------------------------------------------------------------------

VALUES = {"foreign": ("ignore|warn|abort", "warn"), "stats": ("0|1|PID", "0"), "verbose": ("0|1", "0")}


@pytest.mark.parametrize("option, value", [
    ("foreign", ""), ("foreign", "loud"), ("foreign", "Abort"), ("foreign", "abort "), ("foreign", "warnx"),
    ("stats", ""), ("stats", "yes"), ("stats", "-1"), ("stats", "1 "), ("stats", "99999999999999999999"),
    ("verbose", ""), ("verbose", "2"), ("verbose", "x")])
def test_a_wrong_value_is_named_with_what_is_allowed_and_what_is_used(program, option, value):
    values, fallback = VALUES[option]
    result = run(program("nothing"), **{option: value})
    assert result.stderr == (f"poolalloc: POOLALLOC_{option.upper()}={value} is not one of {values}; "
                             f"using {fallback}\n")
    assert result.returncode == 0


def test_after_a_wrong_value_the_default_is_in_force(program):
    result = run(program("free_stack"), foreign="loud")
    assert result.stderr == ("poolalloc: POOLALLOC_FOREIGN=loud is not one of ignore|warn|abort; using warn\n" +
                             invalid_pointer("free", result.stdout.split()[0]))
    assert result.returncode == 0


@pytest.mark.parametrize("name", ["unknown", "foreig", "foreignx", "lib"])
def test_a_variable_that_is_no_option_is_nobodys_business(program, name):
    result = run(program("nothing"), **{name: "loud"})
    assert (result.returncode, result.stderr) == (0, "")


def test_a_message_that_does_not_fit_is_cut_off_and_ends_its_line(program):
    result = run(program("nothing"), foreign="x" * 1000)
    assert result.stderr == ("poolalloc: POOLALLOC_FOREIGN=" + "x" * 1000)[:399] + "\n"
    assert result.returncode == 0


def test_verbose_names_the_version_and_the_process(program):
    result = run(program("nothing"), verbose="1")
    assert re.fullmatch(r"poolalloc: version \d+\.\d+\.\d+ serves process \d+\n", result.stderr)


def test_right_values_are_silent(program):
    assert run(program("nothing"), foreign="abort", stats="0", verbose="0").stderr == ""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("cc") is None, reason="needs root and a compiler")
def test_a_program_with_more_rights_than_its_caller_reads_no_options():
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        lib = pathlib.Path(directory) / "libpoolalloc.so.0"
        path = pathlib.Path(directory) / "secure"
        shutil.copy(LIB, lib)
        subprocess.run(["cc", *FLAGS, HERE / "secure.c", lib, f"-Wl,-rpath,{directory}", "-o", path], check=True)
        os.chown(path, 65534, 65534)
        os.chmod(path, 0o4755)
        env = {"POOLALLOC_FOREIGN": "abort", "POOLALLOC_VERBOSE": "1", "POOLALLOC_STATS": "1"}
        result = subprocess.run([path], env=env, capture_output=True, text=True, timeout=60)
        secure, address = result.stdout.split()
        if secure != "1":
            pytest.skip("set-user-id has no effect on this file system")
        assert result.stderr == invalid_pointer("free", address)
        assert result.returncode == 0
        # The same program without the extra rights reads them.
        os.chmod(path, 0o755)
        result = subprocess.run([path], env=env, capture_output=True, text=True, timeout=60)
        assert result.returncode == -signal.SIGABRT
