"""Programs under valgrind, and programs with a sanitizer inside, with the library preloaded (COMPAT 70).

What always holds: nothing hangs. What stands before malloc finds its errors as it does without the library; what does not
find its place says so in one line, or its reports name the library.
"""
import re
import subprocess

import pytest

VALGRIND = ["valgrind", "--leak-check=full", "--error-exitcode=9"]
SYNONYMS = [[], ["--soname-synonyms=somalloc=libpoolalloc*"]]


def lost(result):
    """{bytes: blocks} of what valgrind takes for lost."""
    found = re.findall(r"([\d,]+) bytes in ([\d,]+) blocks are definitely lost", result.err)
    return {int(size.replace(",", "")): int(blocks) for size, blocks in found}


@pytest.mark.parametrize("options", SYNONYMS, ids=["as it is", "by its name"])
@pytest.mark.parametrize("linked", [False, True], ids=["preloaded", "linked"])
def test_valgrind_counts_leaks(run, compiled, library, options, linked):
    # COMPAT 70
    folder = library.parent
    flags = ["-Wl,--no-as-needed", f"-L{folder}", f"-Wl,-rpath,{folder}", f"-l:{library.name}"]
    program = compiled("work.c", *(flags if linked else []))
    preload = [] if linked else [library]
    result = run([*VALGRIND, *options, program, "leak"], preload=preload, timeout=120)
    assert result.status == 9 and lost(result) == {280: 7}, result
    result = run([*VALGRIND, *options, program], preload=preload, timeout=120)
    assert result.status == 5 and lost(result) == {} and "ERROR SUMMARY: 0 errors" in result.err, result


def test_valgrind_names_misuse(run, compiled, library):
    # COMPAT 70
    program = compiled("work.c")
    assert "Invalid write of size 1" in run([*VALGRIND, program, "overflow"], preload=[library], timeout=120).err
    assert "Invalid free()" in run([*VALGRIND, program, "double"], preload=[library], timeout=120).err


def test_valgrind_leaves_malloc_to_the_library(run, compiled, library):
    # COMPAT 70: then it sees no blocks, and the library notices its own misuse
    options = [*VALGRIND, "--soname-synonyms=somalloc=NONE"]
    result = run([*options, compiled("work.c")], preload=[library], timeout=120)
    assert result.status == 5 and "done" in result.out and "total heap usage: 0 allocs" in result.err, result
    result = run([*options, compiled("work.c"), "double"], preload=[library], timeout=120)
    assert "is free already (double free of a block of 48 bytes)" in result.err and "done" not in result.out, result


def runtime(compiler, name):
    return subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()


# By compiler and sanitizer, with the runtime inside the program.
INSIDE = [("clang", "address"), ("clang", "thread"), ("clang", "memory"), ("clang", "undefined"), ("clang", "leak")]


@pytest.mark.parametrize("compiler, sanitizer", INSIDE)
def test_a_runtime_in_the_program_comes_before_the_library(run, compiled, library, compiler, sanitizer):
    # COMPAT 70
    program = compiled("work.c", f"-fsanitize={sanitizer}", compiler=compiler)
    result = run([program], preload=[library])
    assert (result.status, result.out, result.err) == (5, "done\n", ""), result
    if sanitizer == "address":
        assert "heap-buffer-overflow" in run([program, "overflow"], preload=[library]).err
        assert "attempting double-free" in run([program, "double"], preload=[library]).err
    if sanitizer in ("address", "leak"):
        assert "280 byte(s) in 7 object(s)" in run([program, "leak"], preload=[library]).err


def test_an_address_sanitizer_that_comes_second_says_so(run, compiled, library):
    # COMPAT 70
    program = compiled("work.c", "-fsanitize=address")
    result = run([program], preload=[library])
    assert result.status == 1 and result.out == "" and result.err.count("\n") == 1, result
    assert "ASan runtime does not come first in initial library list" in result.err
    first = [runtime("gcc", "libasan.so"), library]
    assert run([program], preload=first).out == "done\n"
    assert "heap-buffer-overflow" in run([program, "overflow"], preload=first).err


def test_a_thread_sanitizer_that_comes_second_names_the_library(run, compiled, library):
    # COMPAT 70: it takes memory that is used again for a race, because it does not see malloc
    program = compiled("work.c", "-fsanitize=thread", "-DLARGE=3000")
    result = run([program], preload=[library], timeout=180)
    assert result.out == "done\n" and result.status in (5, 66), result
    reports = result.err.split("WARNING: ThreadSanitizer: ")[1:]
    assert all(report.startswith("data race") for report in reports)
    assert (result.status == 66) == bool(reports) and (not reports or "libpoolalloc" in result.err), result
    result = run([program], preload=[runtime("gcc", "libtsan.so"), library])
    assert (result.status, result.out, result.err) == (5, "done\n", ""), result


@pytest.mark.parametrize("sanitizer", ["undefined", "leak"])
def test_other_sanitizers(run, compiled, library, sanitizer):
    # COMPAT 70
    result = run([compiled("work.c", f"-fsanitize={sanitizer}")], preload=[library])
    assert (result.status, result.out, result.err) == (5, "done\n", ""), result
