"""The model of fork (fork.pml): spin looks at every order in which its threads can run.

Always holds: the model has no fault; each of its mutants has the one that it is made for, and none without what it is
about; each assumption of the model is needed; the functions that it mirrors are as they were when the two were last
compared.
"""
import hashlib
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = pathlib.Path(__file__).with_name("fork.pml")
NONE, DEADLOCK, ENDLESS = "errors: 0\n", "pan:1: invalid end state", "pan:1: acceptance cycle"
LAW = "pan:1: assertion violated "
TWO_HOLDERS, CHANGED_IN_CHILD = LAW + "(inside[", LAW + "((i<4)||(inside["

WORLDS = ["FORKS=1", "ALONE FORKS=1 NO_COLLECTOR NO_ALLOCATOR", "NO_ALLOCATOR NO_COLLECTOR"]
LARGE_WORLDS = ["NO_ALLOCATOR", "NO_COLLECTOR", ""]
FAULTS = [
    ("LOCKS_FIRST ONLY_STREAMS FORKS=1", DEADLOCK),
    ("NO_BORROWING FORKS=1", DEADLOCK),
    ("NO_BORROWING ONLY_STREAMS FORKS=1", NONE),
    ("WAITS_FOR_EVER FORKS=1", DEADLOCK),
    ("WAITS_FOR_EVER FORKS=1 NO_COLLECTOR", NONE),
    ("TRIM_WAITS FORKS=1", DEADLOCK),
    ("TRIM_WAITS FORKS=1 NO_COLLECTOR", NONE),
    ("UNTAKE_OVERWRITES FORKS=1 NO_COLLECTOR", TWO_HOLDERS),
    ("HANDLER_ONLY_LOOKS FORKS=1 NO_COLLECTOR", TWO_HOLDERS),
    ("BORROWED_IS_WHOLE FORKS=1 NO_COLLECTOR", CHANGED_IN_CHILD),
]
ASSUMPTIONS = [
    ("STOPPED_IN_LIBC FORKS=1", DEADLOCK),
    ("SHARED_HEAP FORKS=1 NO_COLLECTOR", DEADLOCK),
]


def run(*command, cwd):
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=1200)
    return result.stdout + result.stderr


def check(macros, expected, folder, compiled="-O0", options=()):
    defines = [f"-D{macro}" for macro in macros.split()]
    said = run("spin", "-a", *defines, MODEL, cwd=folder) + \
        run("gcc", *compiled.split(), "-w", "-DNOREDUCE", "-o", "pan", "pan.c", cwd=folder)
    assert not said, said
    found = run("./pan", "-m100000", "-n", *options, cwd=folder)
    if expected in found and "search depth too small" not in found:
        return
    trail = run("spin", "-t", "-k", "fork.pml.trail", "-p", "-g", *defines, MODEL, cwd=folder)
    pytest.fail(f"expected {expected}\n{found}\n{trail}")


def check_laws(macros, expected, folder, optimize="-O0"):
    """Asserts, and states in which nobody can go on."""
    check(macros, expected, folder, f"{optimize} -DSAFETY")


def check_loops(macros, expected, folder, optimize="-O0"):
    """Whether a fork can try again for ever, where whoever can go on does. Such a search does not see deadlocks."""
    check(macros, expected, folder, f"{optimize} -DNFAIR=3", ("-a", "-f"))


@pytest.mark.parametrize("macros", WORLDS)
def test_the_model_has_no_fault(macros, tmp_path):
    check_laws(macros, NONE, tmp_path)
    check_loops(macros, NONE, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("macros", LARGE_WORLDS)
def test_the_large_model_has_no_fault(macros, tmp_path):
    check_laws(macros, NONE, tmp_path, "-O2")
    # Of everything there are too many states.
    if macros:
        check_loops(macros, NONE, tmp_path, "-O2")


def test_a_fork_that_never_gives_up_is_endless(tmp_path):
    check_loops("NEVER_GIVES_UP NO_ALLOCATOR NO_COLLECTOR", ENDLESS, tmp_path)


@pytest.mark.parametrize("macros, expected", FAULTS, ids=[macros for macros, _ in FAULTS])
def test_mutants_fail(macros, expected, tmp_path):
    check_laws(macros, expected, tmp_path)


@pytest.mark.parametrize("macros, expected", ASSUMPTIONS, ids=[macros for macros, _ in ASSUMPTIONS])
def test_assumptions_are_needed(macros, expected, tmp_path):
    check_laws(macros, expected, tmp_path)


def function_hash(path, name):
    """Of a function's text without comments and white space."""
    text = re.sub(r"//.*", "", (ROOT / path).read_text())
    begin = re.search(rf"^\w[^\n;{{]*\b{name}\([^;{{]*\{{", text, re.M)
    assert begin, f"{path} has no {name} any more: read the change, adjust the model and its header"
    end, depth = begin.end(), 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    return hashlib.sha256(re.sub(r"\s", "", text[begin.start():end]).encode()).hexdigest()[:12]


def test_the_model_is_in_step():
    listed = re.findall(r"^ \*   ([\w/.]+) (\w+) ([0-9a-f]{12})$", MODEL.read_text(), re.M)
    assert listed
    changed = [f"{path} {name} {now}" for path, name, hashed in listed if (now := function_hash(path, name)) != hashed]
    assert not changed, "read the change, adjust the model, then write the new values into its header:\n" + \
        "\n".join(changed)
