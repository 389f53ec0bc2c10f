"""What is said of guarded blocks, and how the program ends: one small program, run with the library preloaded and
POOLALLOC_GUARD=1, so that each of its blocks is guarded while there are slots.

What always holds:
* How a program ended, what it wrote and every line on stderr are compared; of stack traces that each is there, begins
  where it must, and is no longer than 16 lines.
* The library is $POOLALLOC_LIB; the program is death_guard in $POOLALLOC_DEATH_PROGRAMS, or is compiled.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
LIB = os.environ.get("POOLALLOC_LIB")
SIZE = 40
FRAME = r"poolalloc:   #\d+ \S+\n"
TRACE = f"(?:{FRAME}){{1,16}}"

pytestmark = pytest.mark.skipif(not LIB, reason="POOLALLOC_LIB names no library")


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    path = pathlib.Path(os.environ.get("POOLALLOC_DEATH_PROGRAMS", "")) / "death_guard"
    if not os.environ.get("POOLALLOC_DEATH_PROGRAMS"):
        path = tmp_path_factory.mktemp("death") / "guard"
        subprocess.run(["cc", "-O0", "-fno-builtin", "-w", "-pthread", HERE / "guard.c", "-o", path], check=True)
    return path


def run(path, *arguments, guard="1", **options):
    env = {"GUARD_LIBRARY" if "before" in arguments else "LD_PRELOAD": LIB, "POOLALLOC_GUARD": guard,
           **{f"POOLALLOC_{name.upper()}": value for name, value in options.items()}}
    return subprocess.run([path, *arguments], env=env, capture_output=True, text=True, timeout=60)


def address_of(result):
    return int(result.stdout.split()[0], 16)


def history(freed=False):
    lines = rf"poolalloc: allocated by thread \d+:\n{TRACE}"
    return lines + (rf"poolalloc: freed by thread \d+:\n{TRACE}" if freed else "")


def fault_report(kind, access, where, place, address, freed=False):
    """A pattern for all of stderr."""
    return (rf"poolalloc: {kind}: {access} of {where:#x}, {place} a block of {SIZE} bytes at {address:#x}, "
            rf"by thread \d+:\n{TRACE}" + history(freed))


def expect(result, pattern, returncode=-signal.SIGSEGV):
    assert re.fullmatch(pattern, result.stderr), result.stderr
    assert result.returncode == returncode


# --- Faults ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("where", [[], ["thread"], ["stack"], ["thread", "stack"]], ids=" ".join)
@pytest.mark.parametrize("access", ["read", "write"])
@pytest.mark.parametrize("distance", [8, 9, 100, 2000])
def test_an_overflow(program, access, distance, where):
    # The block's end is 8 bytes before its page's.
    result = run(program, f"{access}+{distance}", "end", *where)
    address = address_of(result)
    assert result.stdout.count("\n") == 1
    expect(result, fault_report("overflow", access, address + SIZE + distance, f"{distance} bytes after", address))


@pytest.mark.parametrize("access", ["read", "write"])
@pytest.mark.parametrize("distance", [1, 2, 1000])
def test_an_underflow(program, access, distance):
    result = run(program, f"{access}-{distance}", "start")
    address = address_of(result)
    place = "1 byte before" if distance == 1 else f"{distance} bytes before"
    expect(result, fault_report("underflow", access, address - distance, place, address))


@pytest.mark.parametrize("where", [[], ["thread"], ["free-thread"], ["thread", "free-thread"], ["stack"]], ids=" ".join)
@pytest.mark.parametrize("access", ["read", "write"])
def test_a_use_after_free(program, access, where):
    result = run(program, f"freed-{access}", *where)
    address = address_of(result)
    expect(result, fault_report("use after free", access, address + 3, "3 bytes into", address, freed=True))


def test_the_trace_begins_with_the_access(program):
    if not shutil.which("nm"):
        pytest.skip("needs nm")
    result = run(program, "read+8", "end")
    symbols = {}
    for line in subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in "tT":
            symbols[int(fields[0], 16)] = fields[2]

    def function(line):
        offset = int(line.rsplit("+", 1)[1], 16)
        return symbols[max(start for start in symbols if start <= offset)]
    lines = result.stderr.splitlines()
    assert [function(line) for line in lines[1:4]] == ["touch", "misuse", "in_thread"]
    made = lines.index(next(line for line in lines if "allocated" in line))
    assert function(lines[made + 1]) == "main"


# --- The program's own handlers -------------------------------------------------------------------------------

@pytest.mark.parametrize("where", [[], ["stack"], ["thread"]], ids=" ".join)
def test_a_handler_from_before_is_called_after_the_report(program, where):
    result = run(program, "read+8", "end", "before", *where)
    address = address_of(result)
    expect(result, fault_report("overflow", "read", address + SIZE + 8, "8 bytes after", address), returncode=0)
    assert result.stdout.endswith("handled\nalive\n")


def test_a_handler_from_before_may_resume(program):
    result = run(program, "write+8", "end", "before", "resume")
    address = address_of(result)
    expect(result, fault_report("overflow", "write", address + SIZE + 8, "8 bytes after", address), returncode=0)
    assert result.stdout.endswith("handled\nalive\n")


def test_a_handler_from_afterwards_stands_in_our_place(program):
    result = run(program, "read+8", "end", "after")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("handled\nalive\n")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS])
def test_a_signal_that_was_sent_does_what_it_does(number):
    result = subprocess.run(["sh", "-c", f"kill -{number.value} $$"], capture_output=True, text=True, timeout=60,
                            env={"LD_PRELOAD": LIB, "POOLALLOC_GUARD": "1", "PATH": os.environ["PATH"]})
    assert (result.returncode, result.stderr) == (-number, "")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS])
def test_a_signal_that_was_sent_is_ignored_by_who_ignores_it(number):
    ignored = f"import os; os.kill(os.getpid(), {number.value}); print('alive')"
    result = subprocess.run(["/usr/bin/python3", "-c", ignored], capture_output=True, text=True, timeout=60,
                            env={"LD_PRELOAD": LIB, "POOLALLOC_GUARD": "1000"},
                            preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
    assert (result.returncode, result.stdout, result.stderr) == (0, "alive\n", "")


def test_another_fault_is_none_of_our_business(program):
    result = subprocess.run(["/usr/bin/python3", "-c", "import ctypes; ctypes.string_at(8)"], capture_output=True,
                            text=True, timeout=60, env={"LD_PRELOAD": LIB, "POOLALLOC_GUARD": "1:64"})
    assert (result.returncode, result.stderr) == (-signal.SIGSEGV, "")


# --- Misuse ---------------------------------------------------------------------------------------------------

HINT = "poolalloc: to go on after this, set POOLALLOC_MISUSE=warn\n"
MISUSES = {
    "double": (r"free\(\): {p} is free already \(double free of a block of 40 bytes\)", True),
    "realloc": (r"realloc\(\): {p} is free already \(double free of a block of 40 bytes\)", True),
    "inside": (r"free\(\): {p16} is 16 bytes into a block of 40 bytes at {p}", False),
    "slack": (r"free\(\): {p} is a block that was overflowed: a write 0 bytes after a block of 40 bytes at {p}", False),
}


def misuse_pattern(kind, result, end=HINT):
    text, freed = MISUSES[kind]
    address = address_of(result)
    text = text.replace("{p16}", f"{address + 16:#x}").replace("{p}", f"{address:#x}")
    return f"poolalloc: {text}\n{TRACE}" + history(freed) + end


@pytest.mark.parametrize("where", [[], ["thread"], ["free-thread"]], ids=" ".join)
@pytest.mark.parametrize("kind", MISUSES)
def test_a_misuse_aborts(program, kind, where):
    result = run(program, kind, *where)
    expect(result, misuse_pattern(kind, result), returncode=-signal.SIGABRT)


@pytest.mark.parametrize("kind", MISUSES)
def test_a_misuse_is_named_and_the_program_goes_on(program, kind):
    result = run(program, kind, misuse="warn")
    expect(result, misuse_pattern(kind, result, end=""), returncode=0)
    assert result.stdout.endswith("alive\n")


@pytest.mark.parametrize("kind", MISUSES)
def test_a_misuse_is_ignored(program, kind):
    result = run(program, kind, misuse="ignore")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("alive\n")


# --- Children -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, report", [("read+8", ("overflow", "read", SIZE + 8, "8 bytes after")),
                                          ("freed-write", ("use after free", "write", 3, "3 bytes into"))])
def test_a_childs_fault_is_reported(program, kind, report):
    result = run(program, kind, "fork", "end")
    address = address_of(result)
    name, access, offset, place = report
    expect(result, fault_report(name, access, address + offset, place, address, freed=kind.startswith("freed")),
           returncode=100 + signal.SIGSEGV)


def test_a_child_uses_and_frees_what_the_parent_made(program):
    result = run(program, "none", "fork", "start")
    assert (result.returncode, result.stderr) == (0, "")


# --- Options --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value", ["", "x", "-1", "1:", ":1", "1:0", "0:5", "1:10001", "1:2:3", "5k", "1 ", "9999999999"])
def test_a_wrong_value_is_named(program, value):
    result = run(program, "none", guard=value)
    assert result.stderr == f"poolalloc: POOLALLOC_GUARD={value} is not one of 0|N[:M]; using 0\n"
    assert result.returncode == 0


@pytest.mark.parametrize("value", ["0", "1", "1:1", "2:10000", "999999999"])
def test_right_values_are_silent(program, value):
    result = run(program, "none", guard=value)
    assert (result.returncode, result.stderr) == (0, "")


def test_without_the_option_nothing_is_guarded(program):
    result = run(program, "read+8", guard="0")
    assert (result.returncode, result.stderr) == (0, "")


# --- Real programs --------------------------------------------------------------------------------------------

PROGRAMS = {
    "python": ["/usr/bin/python3", "-c", "import json, re\nd = {str(i): [i, 'x' * (i % 5000)] for i in range(3000)}\n"
               "assert json.loads(json.dumps(d)) == d\nprint(len(re.sub('x+', 'y', json.dumps(d))))"],
    "perl": ["perl", "-e", 'my %h; for my $i (1..50000) { push @{$h{$i % 1000}}, "x$i"; } my $s = 0;'
             ' $s += @{$h{$_}} for sort keys %h; print "$s\\n"; print join(",", (sort map { "k$_" } 1..2000)[0..9])'],
    "sort": ["sort", "-r", "-n", "--parallel=2"],
    "shell": ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do (echo $i | cat) & done; wait; seq 1000 | tail -n 1"],
}


@pytest.mark.parametrize("guard", ["1:64", "100", "3:2", "5000"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_real_program_runs(name, guard):
    if not shutil.which(PROGRAMS[name][0]):
        pytest.skip("is not installed")
    lines = "".join(f"{i * 7919 % 100003}\n" for i in range(100000)) if name == "sort" else None
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PERL_HASH_SEED": "0"}

    def ended(more):
        result = subprocess.run(PROGRAMS[name], input=lines, env={**env, **more}, capture_output=True, text=True,
                                timeout=120)
        out = sorted(result.stdout.split()) if name == "shell" else result.stdout
        return result.returncode, out, result.stderr
    assert ended({"LD_PRELOAD": LIB, "POOLALLOC_GUARD": guard}) == ended({})
