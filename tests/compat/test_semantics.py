"""What the functions promise: sizes, alignments, contents, errors (COMPAT 44-51).

What always holds: each test's program judges every block it gets; the library reports nothing.
"""
import pathlib

import pytest

SRC = pathlib.Path(__file__).resolve().parent / "src"

STRICT = {"POOLALLOC_FOREIGN": "abort"}


def test_zero_sizes(laws):
    # COMPAT 44
    laws("zero_sizes.cc", env=STRICT)


def test_impossible_sizes(laws):
    # COMPAT 45
    laws("too_large.cc", flags=("-Wno-alloc-size-larger-than",), env=STRICT)


def test_wrong_alignments(laws):
    # COMPAT 46, 90
    laws("alignment_laws.c", flags=("-Wno-attribute-alias",), env=STRICT)


@pytest.mark.parametrize("what", [["small", 1], ["powers"], ["aligned", 37], ["aligned-large", 2039]], ids=lambda w: w[0])
def test_all_sizes(laws, what):
    # COMPAT 47
    laws("all_sizes.c", *what, env=STRICT, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("what", [["aligned", 1], ["aligned-large", 61]], ids=lambda w: w[0])
def test_all_sizes_and_alignments(laws, what):
    # COMPAT 47
    laws("all_sizes.c", *what, env=STRICT, timeout=900)


def test_usable_size(laws):
    # COMPAT 48
    laws("usable_size.c", env=STRICT)


def test_usable_size_fortified(run, build):
    # COMPAT 48
    flags = ["-O2", "-g", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3", "-Wall", "-Wextra", "-Werror", "-pthread",
             "-Wno-stringop-truncation", f"-I{SRC}"]
    run([build("usable_fortified.c", common=flags)], env=STRICT).ok()


@pytest.mark.parametrize("mode, purge", [*((mode, "on") for mode in ("plain", "trim", "mlock", "mlock-future", "threads")),
                                         ("threads", "eager")])
def test_calloc_is_zero(laws, mode, purge):
    # COMPAT 49
    laws("calloc_zero.c", mode, env={**STRICT, "POOLALLOC_PURGE": purge}, timeout=120)


@pytest.mark.parametrize("mode", ["trim", "threads"])
def test_calloc_is_zero_where_the_kernel_gives_nothing_back(run, build, lib, mode):
    # COMPAT 62: an emulator says that it has, and has not
    command = [build("with_filter.c"), 0, "madvise", build("calloc_zero.c"), mode]
    run(command, preload=False, env={**STRICT, "COMPAT_LIB": str(lib)}, timeout=120).ok()


@pytest.mark.parametrize("mode", ["classes", "threads"])
def test_realloc_keeps_bytes(laws, mode):
    # COMPAT 50
    laws("realloc_matrix.c", mode, env=STRICT, timeout=60)


def test_realloc_of_gigabytes(run, build):
    # COMPAT 50: the total time is linear and near that of glibc, which moves mappings instead of bytes: at most the
    # first 100 MiB may be copied, once
    program = build("realloc_matrix.c")
    runs = {preload: [tuple(map(float, run([program, "huge"], preload=preload).ok().out.split())) for _ in range(3)]
            for preload in (True, False)}
    ours, glibc = (min(seconds for seconds, _ in runs[preload]) for preload in (True, False))
    one_copy = max(copy for _, copy in runs[False])
    assert ours < 2 * glibc + 1.5 * one_copy + 0.05, runs


@pytest.mark.parametrize("mode", ["plain", "eperm", "enomem", "einval", "mlock", "maps"])
def test_errno_is_kept(laws, mode):
    # COMPAT 51
    laws("errno_kept.c", mode, env=STRICT, timeout=60)


def test_errno_is_kept_with_operators(run, build):
    # COMPAT 51: with the C++ operators present in every build of the program
    program = build("errno_kept.c", "-lstdc++", "-Wl,--no-as-needed")
    for mode in ("plain", "enomem"):
        run([program, mode], env=STRICT, timeout=60).ok()
