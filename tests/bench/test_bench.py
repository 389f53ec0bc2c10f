"""The benchmark: its programs are sound under any allocator, and scripts/bench measures, reports and refuses.

Always holds: runs are tiny, so their figures mean nothing and none is asserted; what is asserted is which
figures there are and what failure looks like.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/bench"
BENCH = ROOT / "scripts/bench"
LIBRARY = os.environ["POOLALLOC_LIB"]
OWN = sorted(path for path in [*HERE.glob("*.c"), *HERE.glob("*.cc")] if path.stem not in ("micro", "resources"))

sys.path.insert(0, str(ROOT / "scripts"))
from benchmarks import plots  # noqa: E402
from benchmarks.results import Results  # noqa: E402


def build(source, program, *more):
    compiler = ["c++", "-std=c++17"] if source.suffix == ".cc" else ["cc", "-std=gnu11"]
    flags = ["-O1", "-fno-builtin", "-pthread", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*compiler, *flags, "-o", program, source, *more], check=True)
    return program


def run(*command, library="", **environment):
    return subprocess.run(command, env={**os.environ, "LD_PRELOAD": library, **environment}, capture_output=True,
                          text=True, timeout=60)


def bench(*arguments, **environment):
    return run(BENCH, *arguments, POOLALLOC_LIB=LIBRARY, **environment)


@pytest.fixture
def suite(tmp_path):
    """A folder as mimalloc-bench leaves it, with programs that print its figures at once."""
    folder = tmp_path / "suite"
    folder.mkdir()
    programs = {
        "cfrac": "echo factors",
        "larson": 'echo "Throughput = 5 operations per second, relative time: 2.500s."',
        "rptest": 'echo "crt 2 threads: ....1000000 memory ops/CPU second"',
        "xmalloc-test": 'echo "rtime: 4.000, free/sec: 25 M"',
        "glibc-thread": 'echo "500000000 iterations"',
        "barnes": "cat",
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("source", OWN, ids=lambda path: path.stem)
def test_own_program_compiles_and_checks_itself_under_both(tmp_path, source):
    assert re.match(r"(/\*|//) Stands for .*\.", source.read_text().splitlines()[0])
    program = build(source, tmp_path / "program")
    results = [run(program, "1", library=library) for library in ("", LIBRARY)]
    for result in results:
        assert (result.returncode, result.stderr) == (0, "")
        assert re.fullmatch(r"(checksum|operations) \d+\n", result.stdout)
    assert results[0].stdout == results[1].stdout
    refused = run(program, "all")
    assert (refused.returncode, refused.stderr) == (2, "all: not a number from 1 on\n")


@pytest.mark.parametrize("source", sorted((HERE / "memory").glob("*.c")), ids=lambda path: path.stem)
def test_memory_probe_compiles_and_prints_figures_under_both(tmp_path, source):
    program = build(source, tmp_path / source.stem)
    names = []
    with concurrent.futures.ThreadPoolExecutor() as both:
        results = list(both.map(lambda library: run(program, "2", "1", library=library), ["", LIBRARY]))
    for result in results:
        assert result.returncode == 0 and result.stderr == "", result
        lines = [line.split() for line in result.stdout.splitlines()]
        names.append([line[1] for line in lines if line[0] == "figure"])
        assert {line[0] for line in lines} == {"figure", "sample"} and all(float(line[2]) >= 0 for line in lines)
    assert names[0] == names[1] != []
    assert run(program, "none").returncode == 2


def test_memory_probes_give_figures_and_plots(tmp_path):
    file, plot = tmp_path / "memory.json", tmp_path / "memory"
    result = bench("--memory", "--quick", "--only", "idle_threads,ring", "--peers", "none", "--json", file, "--plot", plot)
    assert result.returncode == 0, result.stderr
    figures = json.loads(file.read_text())["samples"]
    assert {name.split()[0] for name in figures} == {"idle_threads", "ring"}
    assert all(len(samples["poolalloc"]) == len(samples["glibc"]) == 1 for samples in figures.values())
    assert all(path.stat().st_size > 5000 for path in (tmp_path / "memory.png", tmp_path / "memory.svg"))


def test_policy_is_replayed_alike_every_time(tmp_path):
    results = [bench("--policy", "--plot", tmp_path / name) for name in ("one", "two")]
    assert results[0].returncode == 0 and results[0].stdout == results[1].stdout
    assert results[0].stdout.count("\n") >= 7 and (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_micro_benchmarks_compile_and_run_under_both(tmp_path):
    program = build(HERE / "micro.cc", tmp_path / "micro", "-lbenchmark")
    for library in ("", LIBRARY):
        result = run(program, "--benchmark_format=json", "--benchmark_min_time=0.0001", library=library)
        assert result.returncode == 0, result.stderr
        assert len(json.loads(result.stdout)["benchmarks"]) > 25


def test_resources_are_compared():
    result = bench("--resources", "--quick", "--rounds", "1", "--markdown")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("| round | pool | monotonic | heap | ") and len(lines) >= 8
    assert all(re.search(r"\*\*\d", line) for line in lines[2:])


def test_a_broken_allocator_is_noticed(tmp_path):
    (tmp_path / "broken.c").write_text(
        "#include <stddef.h>\n#include <string.h>\nvoid *__libc_malloc(size_t);\n"
        "void *calloc(size_t n, size_t size) { return memset(__libc_malloc(n * size), 1, n * size); }\n")
    broken = build(tmp_path / "broken.c", tmp_path / "broken.so", "-shared", "-fPIC")
    result = bench("--quick", "--peers", "none", "--only", "calloc_heavy", f"broken={broken}")
    assert result.returncode == 1
    assert "bench: calloc_heavy failed under broken, 1 of 1 times: exit status 1" in result.stderr
    assert "failed under poolalloc" not in result.stderr


def test_a_library_that_does_not_load_is_noticed(tmp_path):
    (tmp_path / "no.so").write_text("no library\n")
    result = bench("--quick", "--peers", "none", "--only", "trees", f"no={tmp_path}/no.so")
    assert result.returncode == 1
    assert "trees failed under no, 1 of 1 times: the library could not be loaded" in result.stderr


def test_quick_run_writes_json_and_plots(tmp_path):
    result = bench("--quick", "--only", "small_objects,trees,many_threads", "--rounds", "1", "--peers", "none",
                   "--json", tmp_path / "f.json", "--plot", tmp_path / "f")
    assert result.returncode == 0, result.stderr
    for name in ("f", "f-threads"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
    found = json.loads((tmp_path / "f.json").read_text())
    assert {"machine", "arguments", "base", "allocators", "programs", "summary", "samples", "failures",
            "geometric_means"} == set(found)
    assert {"date", "processor", "processors", "memory_mib", "kernel", "distribution", "libc", "load",
            "transparent_huge_pages", "environment"} == set(found["machine"])
    assert list(found["allocators"]) == ["glibc", "poolalloc"]
    assert found["allocators"]["poolalloc"]["library"] == os.path.abspath(LIBRARY)
    assert set(found["samples"]) == {"small_objects", "trees", "many_threads@1", "many_threads@8"}
    for program, by_allocator in found["samples"].items():
        for samples in by_allocator.values():
            assert len(samples) == 1
            wanted = {"time", "wall", "user", "system", "cpu", "rss_kib", "minor_faults", "major_faults", "faults"}
            assert set(samples[0]) == wanted | ({"rate"} if "@" in program else set())
    assert {"median", "spread", "to_base", "paired", "to_best_peer"} == set(found["summary"]["trees"]["poolalloc"]["time"])
    assert "geometric means" in result.stdout and "throughput" in result.stdout


def test_markdown_has_a_row_per_program_and_the_mean():
    result = bench("--quick", "--only", "trees", "--peers", "none", "--markdown")
    assert result.returncode == 0, result.stderr
    header, rule, row, mean = result.stdout.splitlines()
    assert header == "| program | stands for | poolalloc |"
    assert rule == "|---|---|---|"
    assert re.fullmatch(r"\| trees \| compilers and .* \| \S+ / \S+ \|", row)
    assert re.fullmatch(r"\| geometric mean \| \| \S+ / \S+ \|", mean)


def test_suite_is_recognised_and_its_own_figures_are_taken(tmp_path, suite):
    (suite / "barnes.input").write_text("numbers\n")
    result = bench("--suite", suite, "--rounds", "1", "--peers", "none", "--json", tmp_path / "f.json")
    assert result.returncode == 0, result.stderr
    missing = re.search(r"bench: --suite: not there, left out: (.*)", result.stderr).group(1).split(", ")
    assert "mstressN" in missing and "cfrac" not in missing
    found = json.loads((tmp_path / "f.json").read_text())
    times = {name: by["poolalloc"][0]["time"] for name, by in found["samples"].items()}
    assert set(times) == {"cfrac", "larsonN", "rptestN", "xmalloc-testN", "glibc-thread", "barnes"}
    assert (times["larsonN"], times["rptestN"], times["xmalloc-testN"], times["glibc-thread"]) == (2.5, 2, 4, 2)
    assert times["cfrac"] == found["samples"]["cfrac"]["poolalloc"][0]["wall"]
    assert found["programs"]["larsonN"]["command"][1:-1] == ["5", "8", "1000", "5000", "100", "4141"]


def test_a_program_without_its_input_is_named_and_a_failing_one_reported(suite):
    (suite / "cfrac").write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    result = bench("--suite", suite, "--rounds", "1", "--peers", "none", "--only", "cfrac,barnes,xmalloc-test")
    assert result.returncode == 1
    assert "left out: barnes (its input barnes.input)" in result.stderr
    assert "bench: cfrac failed under glibc, 1 of 1 times: exit status 3: out of luck" in result.stderr
    assert "bench: cfrac failed under poolalloc" in result.stderr
    assert re.search(r"cfrac +failed +failed", result.stdout)


@pytest.mark.parametrize("arguments, message", [
    (["--only", "nothing"], "--only: no such program: nothing (see --list)"),
    (["--rounds", "0"], "argument --rounds: 0 is not a number from 1 on (see --help)"),
    (["--frob"], "unrecognized arguments: --frob (see --help)"),
    (["mine"], "mine: expected NAME=LIBRARY.so with a library that exists"),
    (["mine=/nowhere/lib.so"], "mine=/nowhere/lib.so: expected NAME=LIBRARY.so with a library that exists"),
    (["--peers", "x"], "--peers: x is none of mimalloc, jemalloc, tcmalloc, tbbmalloc; name others as NAME=LIBRARY.so"),
    (["--peers", "none", "--base", "x"], "--base: x is none of glibc, poolalloc"),
    (["--json", "/nowhere/f"], "/nowhere/f: its folder does not exist"),
    (["--suite", "/nowhere"], "--suite: /nowhere: no such folder"),
    (["--from", "/dev/null"], "--from: /dev/null is not what --json writes (JSONDecodeError)"),
    (["--suite", "/dev"], "--suite: /dev has no program of mimalloc-bench"),
    (["--micro", "--threads"], "--threads, --micro, --memory, --policy, --suite, --resources and --from exclude each other"),
])
def test_wrong_arguments_give_one_line(arguments, message):
    result = bench(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == f"bench: {message}"
    assert len(result.stderr.splitlines()) == (2 if "/dev" in arguments else 1)


def test_list_names_every_program_and_what_it_stands_for():
    result = bench("--list", "--peers", "none")
    assert result.returncode == 0
    for name in [path.stem for path in OWN] + ["g++", "clang++", "redis", "jq"]:
        assert re.search(rf"^ {re.escape(name)} +\w", result.stdout, re.MULTILINE)


def test_means_are_over_programs_that_all_completed():
    def figures(*values):
        return [{"time": value} for value in values]
    results = Results({
        "a": {"glibc": figures(2, 4, 3), "poolalloc": figures(1, 2, 1.5), "other": figures(6, 6, 6)},
        "b": {"glibc": figures(8), "poolalloc": figures(1), "other": figures(2)},
        "c": {"glibc": figures(1), "poolalloc": figures(100), "other": [{"error": "killed by SIGSEGV"}]},
    })
    assert results.median("a", "glibc", "time") == 3
    assert results.spread("a", "glibc", "time") == pytest.approx(2 / 3)
    assert results.spread("b", "glibc", "time") is None
    assert results.complete("time", ["a", "b", "c"]) == ["a", "b"]
    assert results.mean_ratio("poolalloc", "time", "glibc", ["a", "b", "c"]) == pytest.approx((1 / 2 * 1 / 8) ** 0.5)
    assert results.best_peer("b", "time", ["glibc", "other"]) == "other"
    assert results.mean_ratio_to_best("poolalloc", "time", ["glibc", "other"], ["a", "b"]) == pytest.approx(0.5)
    assert list(results.failures()) == [("c", "other", "killed by SIGSEGV", 1)]


def test_pairs_say_what_moods_of_the_machine_hide():
    """A library that is five per cent faster in each round, though rounds differ by a half."""
    moods = [1.0, 1.5, 1.2, 0.9, 1.4, 1.1]
    results = Results({"a": {"glibc": [{"time": mood} for mood in moods], "faster": [{"time": 0.95 * mood} for mood in moods],
                             "other": [{"time": mood} for mood in reversed(moods)], "failed": [{"error": "x"}] * 6}})
    assert results.paired("a", "faster", "time", "glibc") == pytest.approx((0.95, 0.95, 0.95))
    median, least, most = results.paired("a", "other", "time", "glibc")
    assert least < median < most and least < 0.9 and most > 1.1
    assert results.paired("a", "failed", "time", "glibc") is None
    # The same samples give the same interval.
    assert results.paired("a", "other", "time", "glibc") == (median, least, most)


def test_axes_have_room_beside_many_allocators(monkeypatch):
    names = ["glibc", "poolalloc", *(f"allocator{i}" for i in range(7))]
    results = Results({"program": {name: [{"time": i + 1, "rss_kib": i + 1}] for i, name in enumerate(names)}})
    widths, rights = [], []

    def look(figure, path):
        figure.canvas.draw()
        widths.extend(axis.get_position().width for axis in figure.axes)
        rights.extend(axis.get_tightbbox(figure.canvas.get_renderer()).x1 / figure.bbox.x1 for axis in figure.axes)
    monkeypatch.setattr(plots, "save", look)
    plots.plot_programs(results, ["program"], "glibc", "unused")
    assert len(widths) == 2 and min(widths) > 0.35 and max(rights) <= 1
