"""The traces of corpus/, replayed without libFuzzer: the interpreter holds the library to its laws in every ordinary test run.

Always holds: each trace runs in a process of its own, under the ordinary and the hardened library of the checking build,
and under some option sets; together the traces call every function that the library exports. The search for further
traces is tests/fuzz/run.
"""
import os
import pathlib
import re
import subprocess

import pytest

import option_sets

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = pathlib.Path(os.environ.get("POOLALLOC_TEST_BUILD", ROOT / "build/test"))
REPLAY = BUILD / "tests/fuzz/fuzz-replay"
CORPUS = HERE / "corpus"
LIBRARIES = {"ordinary": BUILD / "libpoolalloc.so", "secure": BUILD / "libpoolalloc-secure.so"}
# Sets of the chaos build are for run; some of the others are enough here.
REPLAYED = [options for options in option_sets.SETS if options.name in (
    "plain", "one process", "eager", "limited", "guard", "profile", "secure", "secure, one process")]


def replay(folder, options, *arguments, traces=(CORPUS,)):
    """The replay's result. The library that it was linked with is the ordinary one; a preloaded one comes before that."""
    environment = {**os.environ, **option_sets.environment_of(options, folder)}
    if options.library == "secure":
        environment["LD_PRELOAD"] = str(LIBRARIES["secure"])
    here = ["--here"] if options.shares_process else []
    return subprocess.run([REPLAY, *here, "--folder", folder, *arguments, *traces], env=environment, capture_output=True,
                          text=True, timeout=300)


@pytest.mark.parametrize("options", REPLAYED, ids=[options.name for options in REPLAYED])
def test_no_trace_finds_a_violated_law(tmp_path, options):
    result = replay(tmp_path, options)
    assert result.returncode == 0, result.stderr[-4000:]
    assert int(re.search(r"(\d+) traces", result.stdout)[1]) == len(list(CORPUS.iterdir())) > 20


def test_traces_call_every_function(tmp_path):
    result = replay(tmp_path, REPLAYED[0], "--calls")
    called = {name: int(count) for name, count in re.findall(r"^(\w+) (\d+)$", result.stdout, re.M)}
    exported = set(re.findall(r"^[A-Z]+\([^,]*, *(\w+),", (ROOT / "interpose/entries.def").read_text(), re.M))
    header = re.sub(r"/\*.*?\*/", "", (ROOT / "lib/api/poolalloc.h").read_text(), flags=re.S)
    declared = set(re.findall(r"^[a-z][\w *]*?\b(poolalloc_\w+)\(", header, re.M))
    assert len(exported) > 40 and len(declared) > 30
    assert exported | declared == set(called), "entry.h knows other functions than there are"
    assert not [name for name, count in called.items() if count == 0]


def test_every_option_is_in_a_set():
    names = set(re.findall(r"^OPTION\((\w+),", (ROOT / "lib/api/options.def").read_text(), re.M))
    assert names == {name.lower() for options in option_sets.SETS for name in options.environment}


def test_the_replay_says_what_is_violated(tmp_path):
    """glibc's malloc has other laws: operator new's failures apart, its realloc to less may move, for one."""
    result = replay(tmp_path, REPLAYED[0], traces=[tmp_path / "nothing"])
    assert result.returncode == 2 and "cannot be read" in result.stderr


@pytest.mark.slow
def test_the_search_runs():
    result = subprocess.run([HERE / "run", "0.2", "--sets", "plain", "--no-coverage"], capture_output=True, text=True, timeout=1200)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert int(re.search(r"^plain +(\d+) .* clean$", result.stdout, re.M)[1]) > 10
