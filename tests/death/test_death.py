"""What the library says and does when it is misused: small programs, run with it preloaded.

What always holds:
* Both how a program ended and all that it wrote to stderr are compared exactly.
* The library is $POOLALLOC_LIB; the programs lie in $POOLALLOC_DEATH_PROGRAMS as death_NAME, or are compiled.
* $POOLALLOC_CHECKS is the library's -Dchecks; the build with all of them takes a broken list for its own mistake.
* Whatever is certain ends the program, unless POOLALLOC_MISUSE says otherwise; what another allocator may own does so
  only if POOLALLOC_FOREIGN says so.
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
FLAGS = ["-O0", "-fno-builtin", "-w", "-pthread"]

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


def run(path, *arguments, **options):
    """Runs a program with the library preloaded and POOLALLOC_<OPTION>=value for each option."""
    env = {"LD_PRELOAD": LIB, **{f"POOLALLOC_{name.upper()}": value for name, value in options.items()}}
    return subprocess.run([path, *arguments], env=env, capture_output=True, text=True, timeout=60)


def block_size(size):
    """Bytes of the block that serves a request: eight sizes per doubling, whole pages above 64 KiB."""
    if size > 65536:
        return (size + 4095) // 4096 * 4096
    if size <= 128:
        return max(16, (size + 15) // 16 * 16)
    step = 1 << (size - 1).bit_length() - 4
    return (size + step - 1) // step * step


# --- What is said --------------------------------------------------------------------------------------------

WAYS = {
    "free": "free()", "cfree": "free()", "__libc_free": "free()", "__libc_cfree": "free()", "free_sized": "free_sized()",
    "free_aligned_sized": "free_aligned_sized()", "realloc": "realloc()", "reallocarray": "realloc()",
    "__libc_realloc": "realloc()",
    **{f"_Zd{kind}Pv{form}": f"operator delete{brackets}" for kind, brackets in (("l", ""), ("a", "[]"))
       for form in ("", "m", "RKSt9nothrow_t", "St11align_val_t", "mSt11align_val_t", "St11align_val_tRKSt9nothrow_t")},
}

FREE = "{target} is free already (double free of a block of {size} bytes)"
FREE_LARGE = "{target} is free already, or never was in use (double free of a large block, or a wrong pointer)"
FREE_MEMORY = "{target} is in memory that is free (double free, or a wrong pointer)"
WRITTEN = "{target} was written to after it was freed, or by an overflow of the block before it"
WRITTEN_BLOCK = WRITTEN + " (a free block of {size} bytes)"
INSIDE = "{target} is inside a block of {size} bytes, which begins at {block}"
UNUSED = "{target} is in memory that was never handed out"
RECORDS = "{target} is in the library's own records"
STACK = "{target} is no block: it is on this thread's stack"
PROGRAM = "{target} is no block: it belongs to the program's code and variables"
UNMAPPED = "{target} is no block: no memory is there"
ODD = "{target} is no block: it is not aligned"
FOREIGN = "invalid pointer {target}: not the start of a block of this allocator"


def said(way, what, **values):
    return f"poolalloc: {WAYS.get(way, way)}: {what.format(**values)}\n"


def assert_aborted(result, first, option="MISUSE"):
    """The first line, a stack trace of 1 to 16 functions, and the option that lets the program go on."""
    lines = result.stderr.splitlines(keepends=True)
    assert lines[0] == first
    assert 1 <= len(lines) - 2 <= 16, result.stderr
    for i, line in enumerate(lines[1:-1]):
        assert re.fullmatch(rf"poolalloc:   #{i} /\S+\+0x[0-9a-f]+\n", line), result.stderr
    assert lines[-1] == f"poolalloc: to go on after this, set POOLALLOC_{option}=warn\n"
    assert result.returncode == -signal.SIGABRT
    assert "alive" not in result.stdout


def assert_went_on(result, stderr):
    assert result.stderr == stderr
    assert result.returncode == 0
    assert result.stdout.endswith("alive\n")


# --- One program for each pointer ----------------------------------------------------------------------------

# Each misuses its pointer twice.
POINTERS = {
    "free_stack": ("free", STACK, {}),
    "free_static": ("free", PROGRAM, {}),
    "free_interior_8": ("free", INSIDE, {"size": 1024, "distance": 8}),
    "free_interior_16": ("free", INSIDE, {"size": 1024, "distance": 16}),
    "free_interior_large": ("free", INSIDE, {"size": 1003520, "distance": 65536}),
    "free_interior_mapped": ("free", INSIDE, {"size": 200003584, "distance": 4194304}),
    "free_released_large": ("free", FREE_LARGE, {}),
    "free_released_mapped": ("free", FREE_LARGE, {}),
    "free_released_pool": ("free", FREE_MEMORY, {}),
    "double_free": ("free", FREE, {"size": 112}),
    "realloc_foreign": ("realloc", PROGRAM, {}),
}


def pointer_said(name, result):
    way, what, values = POINTERS[name]
    target = int(result.stdout.split()[0], 16)
    return said(way, what, target=f"{target:#x}", block=f"{target - values.get('distance', 0):#x}",
                size=values.get("size"))


@pytest.mark.parametrize("options", [{}, {"misuse": "abort", "foreign": "ignore"}], ids=["by default", "abort"])
@pytest.mark.parametrize("name", POINTERS)
def test_what_is_certain_aborts(program, name, options):
    result = run(program(name), **options)
    assert_aborted(result, pointer_said(name, result))


@pytest.mark.parametrize("name", POINTERS)
def test_warn_says_so_each_time_and_the_program_goes_on(program, name):
    result = run(program(name), misuse="warn", foreign="abort")
    assert_went_on(result, 2 * pointer_said(name, result))


@pytest.mark.parametrize("name", POINTERS)
def test_ignore_is_silent_and_the_program_goes_on(program, name):
    assert_went_on(run(program(name), misuse="ignore", foreign="abort"), "")


@pytest.mark.parametrize("options", [{}, {"foreign": "warn", "misuse": "abort"}], ids=["by default", "warn"])
def test_the_size_of_a_foreign_pointer_is_asked_with_one_warning(program, options):
    result = run(program("usable_size_foreign"), **options)
    assert_went_on(result, said("malloc_usable_size()", FOREIGN, target=result.stdout.split()[0]))


def test_the_size_of_a_foreign_pointer_is_a_matter_of_the_other_option(program):
    assert_went_on(run(program("usable_size_foreign"), foreign="ignore"), "")
    result = run(program("usable_size_foreign"), foreign="abort", misuse="ignore")
    assert_aborted(result, said("malloc_usable_size()", FOREIGN, target=result.stdout.split()[0]), "FOREIGN")


@pytest.mark.parametrize("options", [{"misuse": "ignore"}, {"misuse": "warn"}], ids=lambda options: options["misuse"])
def test_misuse_is_counted(program, options):
    result = run(program("free_static"), **options, stats="1")
    assert result.returncode == 0
    assert result.stderr.endswith("poolalloc:   invalid frees   2\n")


def test_foreign_pointers_are_counted(program):
    result = run(program("usable_size_foreign"), foreign="ignore", stats="1")
    assert result.returncode == 0
    assert result.stderr.endswith("poolalloc:   invalid frees   2\n")


def test_a_hundred_reports_are_enough(program):
    result = run(program("many_times"), misuse="warn")
    target = result.stdout.split()[0]
    assert_went_on(result, 100 * said("free", STACK, target=target))
    result = run(program("many_times"), misuse="warn", stats="1")
    assert result.stderr.endswith("poolalloc:   invalid frees   250\n")


# --- All kinds of misuse -------------------------------------------------------------------------------------

SMALL = [16, 48, 1000, 1024, 5000, 40000, 65536]
LARGE = [70000, 300000, 3 << 20, 40 << 20]
FREED_TWICE = {**dict.fromkeys(SMALL, FREE), **dict.fromkeys(LARGE, FREE_LARGE)}
APART = {"freed", "both"}

# What is said of blocks of each size that the kind makes sense for.
KINDS = {
    "double": FREED_TWICE, "interleaved": FREED_TWICE, "delayed": FREED_TWICE, "reused": FREED_TWICE,
    "neighbours": dict.fromkeys(SMALL, FREE),
    "written": dict.fromkeys(SMALL, WRITTEN_BLOCK), "overflowed": dict.fromkeys(SMALL, WRITTEN_BLOCK),
    "uppermost": dict.fromkeys(SMALL, WRITTEN_BLOCK),
    "inside": dict.fromkeys(SMALL + LARGE, INSIDE), "unaligned": dict.fromkeys(SMALL + LARGE, INSIDE),
    "unused": dict.fromkeys([16, 48, 1000, 1024, 5000], UNUSED),
    "records": dict.fromkeys(SMALL, RECORDS),
    "stack": {100: STACK}, "variable": {100: PROGRAM}, "code": {100: PROGRAM}, "literal": {100: PROGRAM},
    "unmapped": {100: UNMAPPED}, "wild": {100: UNMAPPED}, "odd": {100: ODD},
}
NOTICED_LATER = {"written", "overflowed", "uppermost"}


def combinations():
    """Each kind with each size at each place, by one of the ways in turn; and each way at each place once more."""
    ways = list(WAYS)
    turn = 0
    for kind, sizes in KINDS.items():
        for size in sizes:
            for where in ("here", "thread", "freed", "both"):
                yield kind, size, "free" if kind in NOTICED_LATER else ways[turn % len(ways)], where
                turn += 1
    for i, way in enumerate(ways):
        for j, where in enumerate(("here", "thread", "freed", "both")):
            yield "double", [48, 1000, 40000, 300000][(i + j) % 4], way, where


COMBINATIONS = sorted(set(combinations()))


def combination_said(kind, size, way, where, stdout):
    block, *target = stdout.split()
    what = KINDS[kind][size]
    if kind in NOTICED_LATER:
        # Of a broken message from another thread the pool is not known; the first block of its list is no message.
        is_message = where in APART and (kind != "uppermost" or size > 16384)
        what = WRITTEN if is_message else WRITTEN_BLOCK
        return f"poolalloc: {what.format(target=block, size=block_size(size))}\n"
    return said(way, what, target=target[0], block=block, size=block_size(size))


@pytest.mark.parametrize("kind, size, way, where", COMBINATIONS)
def test_misuse(program, kind, size, way, where):
    if kind in NOTICED_LATER and CHECKS == "full":
        pytest.skip("the checking build looks at the lists before")
    arguments = kind, str(size), way, where
    result = run(program("misuse"), *arguments)
    assert_aborted(result, combination_said(kind, size, way, where, result.stdout))
    result = run(program("misuse"), *arguments, misuse="warn", foreign="abort")
    assert_went_on(result, combination_said(kind, size, way, where, result.stdout))
    assert_went_on(run(program("misuse"), *arguments, misuse="ignore", foreign="abort"), "")


@pytest.mark.parametrize("where", ["here", "both"])
@pytest.mark.parametrize("size", SMALL + LARGE)
def test_no_misuse(program, size, where):
    assert_went_on(run(program("misuse"), "none", str(size), "free", where, foreign="abort"), "")


@pytest.mark.parametrize("where", ["here", "thread"])
@pytest.mark.parametrize("way", WAYS)
def test_what_another_allocator_may_own(program, way, where):
    arguments = "mapping", "100", way, where
    for options in {"misuse": "abort"}, {"foreign": "warn"}:
        result = run(program("misuse"), *arguments, **options)
        assert_went_on(result, said(way, FOREIGN, target=result.stdout.split()[1]))
    assert_went_on(run(program("misuse"), *arguments, foreign="ignore"), "")
    result = run(program("misuse"), *arguments, foreign="abort", misuse="ignore")
    assert_aborted(result, said(way, FOREIGN, target=result.stdout.split()[1]), "FOREIGN")


# --- What still works ----------------------------------------------------------------------------------------

HANDLED = [(kind, list(sizes)[i % len(sizes)], ("free", "realloc", "_ZdlPvm")[i % 3], where)
           for i, (kind, sizes) in enumerate(KINDS.items()) for where in ("here", "both")] + \
          [("inside", 300000, "free", where) for where in ("here", "both")]


@pytest.mark.parametrize("threads", ["0", "3"])
@pytest.mark.parametrize("kind, size, way, where", HANDLED)
def test_a_handler_of_the_signal_may_allocate(program, kind, size, way, where, threads):
    if kind in NOTICED_LATER:
        way = "free"
        if CHECKS == "full":
            pytest.skip("the checking build looks at the lists before")
    result = run(program("misuse"), kind, str(size), way, where, threads)
    assert result.returncode == 42, result
    assert result.stdout.endswith("\nhandled after signal 6\n")
    lines = result.stderr.splitlines(keepends=True)
    assert lines[0] == combination_said(kind, size, way, where, result.stdout.removesuffix("handled after signal 6\n"))
    assert lines[-1] == "poolalloc: to go on after this, set POOLALLOC_MISUSE=warn\n"


@pytest.mark.parametrize("options", [{}, {"purge": "eager"}], ids=["", "eager"])
@pytest.mark.parametrize("case", ["links", "handed", "moved", "aligned", "counted", "forked", "handler"])
def test_who_does_nothing_wrong_is_not_accused(program, case, options):
    result = run(program("legal"), case, foreign="abort", **options)
    assert (result.returncode, result.stdout, result.stderr) == (0, "alive\n", "")


# --- Stack traces --------------------------------------------------------------------------------------------

CODE = {"tables": ["-O2", "-fomit-frame-pointer", "-fasynchronous-unwind-tables"],
        "frames": ["-O2", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-omit-frame-pointer"],
        "both": ["-O0", "-fasynchronous-unwind-tables", "-fno-omit-frame-pointer"],
        "neither": ["-O2", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fomit-frame-pointer"],
        "fixed": ["-O2", "-no-pie", "-fno-pie"]}


@pytest.fixture(scope="session")
def trace(tmp_path_factory):
    """trace(code, depth): the names of the program's functions that the stack trace shows, and its lines."""
    if shutil.which("cc") is None:
        pytest.skip("needs a compiler")
    directory = tmp_path_factory.mktemp("trace")

    def traced(code, depth):
        path = directory / code
        if not path.exists():
            subprocess.run(["cc", *FLAGS[1:], *CODE[code], HERE / "trace.c", "-o", path], check=True)
        result = run(path, str(depth))
        lines = result.stderr.splitlines()
        assert result.returncode == -signal.SIGABRT
        assert lines[-1] == "poolalloc: to go on after this, set POOLALLOC_MISUSE=warn"
        base = 0x400000 if code == "fixed" else 0
        starts = sorted((int(start, 16) + base, name) for name, start in map(str.split, result.stdout.splitlines()))
        frames = [re.fullmatch(r"poolalloc:   #(\d+) (\S+)\+(0x[0-9a-f]+)", line).groups() for line in lines[1:-1]]
        assert [int(number) for number, _, _ in frames] == list(range(len(frames)))
        offsets = [offset for _, module, offset in frames if module == str(path)]
        names = [[name for start, name in starts if start < int(offset, 16)][-1] for offset in offsets]
        if shutil.which("addr2line"):
            # A call's return address may belong to the next line, but not to another function.
            out = subprocess.run(["addr2line", "-f", "-e", path, *offsets], capture_output=True, text=True).stdout
            assert out.splitlines()[::2] == names
        return names, frames
    return traced


@pytest.mark.parametrize("code", ["tables", "frames", "both", "fixed"])
def test_the_trace_leads_to_main(trace, code):
    names, frames = trace(code, 2)
    assert names[:5] == ["inner", "middle", "outer", "outer", "main"]
    assert len(frames) <= 16


@pytest.mark.parametrize("code", ["tables", "frames", "both", "fixed"])
def test_the_trace_ends_after_sixteen_functions(trace, code):
    for depth in 13, 14, 1000, 10000:
        names, frames = trace(code, depth)
        assert names == ["inner", "middle"] + ["outer"] * min(depth, 14) + ["main"] * (depth == 13)
        assert len(frames) == 16


def test_without_tables_and_frames_the_trace_shows_the_caller(trace):
    for depth in 2, 1000:
        names, frames = trace("neither", depth)
        assert names[0] == "inner"
        assert len(frames) <= 16


# --- Options -------------------------------------------------------------------------------------------------

VALUES = {"disable": ("0|1|NAME[,NAME...]", "0"), "foreign": ("ignore|warn|abort", "warn"), "misuse": ("abort|warn|ignore", "abort"),
          "names": ("0|1", "0"), "stats": ("0|1|PID|json[:FILE]|map:FILE|FOLDER", "0"), "verbose": ("0|1", "0")}


@pytest.mark.parametrize("option, value", [
    ("disable", ""), ("foreign", ""), ("foreign", "loud"), ("foreign", "Abort"), ("foreign", "abort "), ("foreign", "warnx"),
    ("misuse", ""), ("misuse", "loud"), ("misuse", "Warn"), ("misuse", "warn "), ("misuse", "ignored"),
    ("stats", ""), ("stats", "yes"), ("stats", "-1"), ("stats", "1 "), ("stats", "99999999999999999999"),
    ("verbose", ""), ("verbose", "2"), ("verbose", "x")])
def test_a_wrong_value_is_named_with_what_is_allowed_and_what_is_used(program, option, value):
    values, fallback = VALUES[option]
    result = run(program("nothing"), **{option: value})
    assert result.stderr == (f"poolalloc: POOLALLOC_{option.upper()}={value} is not one of {values}; "
                             f"using {fallback}\n")
    assert result.returncode == 0


def test_after_a_wrong_value_the_default_is_in_force(program):
    result = run(program("usable_size_foreign"), foreign="loud")
    assert_went_on(result, "poolalloc: POOLALLOC_FOREIGN=loud is not one of ignore|warn|abort; using warn\n" +
                   said("malloc_usable_size()", FOREIGN, target=result.stdout.split()[0]))
    result = run(program("free_stack"), misuse="loud")
    line, rest = result.stderr.split("\n", 1)
    assert line == "poolalloc: POOLALLOC_MISUSE=loud is not one of abort|warn|ignore; using abort"
    result.stderr = rest
    assert_aborted(result, pointer_said("free_stack", result))


@pytest.mark.parametrize("name", ["unknown", "foreig", "foreignx", "foriegn", "misus", "misuses", "purge_flor", "x", ""])
def test_a_variable_that_is_no_option_is_named(program, name):
    result = run(program("nothing"), **{name: "loud"})
    options = re.findall(r"^OPTION\((\w+),", (HERE.parents[1] / "lib/api/options.def").read_text(), re.M)
    assert result.stderr == (f"poolalloc: POOLALLOC_{name.upper()} is not an option; there are "
                             f"{' '.join(options).upper()}\n")
    assert result.returncode == 0


@pytest.mark.parametrize("name", ["lib", "test_build", "chaos_seconds"])
def test_a_variable_of_the_projects_tools_is_nobodys_business(program, name):
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
    assert run(program("nothing"), foreign="abort", misuse="warn", stats="0", verbose="0").stderr == ""


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
        env = {"POOLALLOC_MISUSE": "warn", "POOLALLOC_VERBOSE": "1", "POOLALLOC_STATS": "1"}
        result = subprocess.run([path], env=env, capture_output=True, text=True, timeout=60)
        secure, address = result.stdout.split()
        if secure != "1":
            pytest.skip("set-user-id has no effect on this file system")
        assert_aborted(result, said("free", STACK, target=address))
        # The same program without the extra rights reads them.
        os.chmod(path, 0o755)
        result = subprocess.run([path], env=env, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0
        assert "poolalloc: version" in result.stderr
