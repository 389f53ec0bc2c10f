"""The memory resources of poolalloc.hpp beside those of the standard library: tests/bench/resources.cc on Google Benchmark.

Always holds: the program is linked with the library, so all of them take their memory from it; figures are microseconds
per round, medians over the repetitions.
"""
import collections
import json
import pathlib
import statistics
import subprocess

from .machine import ROOT, SOURCES, fail, install
from .report import bold, console, new_table

RESOURCES = ["pool", "monotonic", "heap", "unsynchronized_pool", "synchronized_pool"]


def compiled(folder, library):
    if not pathlib.Path("/usr/include/benchmark/benchmark.h").exists():
        install(["libbenchmark-dev"], "--resources")
    program = folder / "resources"
    # Whatever the file is called, the program asks for it by its name.
    (folder / "libpoolalloc.so.0").symlink_to(pathlib.Path(library).resolve())
    command = ["c++", "-std=c++17", "-O2", f"-I{ROOT}/lib/api", f"-I{ROOT}/lib/pool", SOURCES / "resources.cc", "-o", program,
               library, f"-Wl,-rpath,{folder}", "-lbenchmark", "-lpthread"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        fail(f"resources.cc does not compile: {result.stderr.strip().splitlines()[0]}", 1)
    return program


def run(folder, library, rounds, quick):
    """Microseconds by workload and resource."""
    command = [compiled(folder, library), "--benchmark_format=json", f"--benchmark_repetitions={rounds}",
               f"--benchmark_min_time={0.01 if quick else 0.1}", "--benchmark_enable_random_interleaving=true"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        fail(f"--resources: {result.stderr.strip().splitlines()[-1]}", 1)
    samples = collections.defaultdict(lambda: collections.defaultdict(list))
    for entry in json.loads(result.stdout)["benchmarks"]:
        if entry.get("run_type") == "aggregate":
            continue
        kind, _, rest = entry["run_name"].partition("<")
        resource, _, argument = rest.partition(">")
        threads = ", two threads" if "threads:2" in argument else ""
        size = argument.strip("/").split("/")[0] if argument[1:2].isdigit() else ""
        samples[kind.replace("_", " ") + (f", up to {size} bytes" if size else "") + threads][resource].append(
            entry["real_time"] / 1000)
    return {workload: {name: statistics.median(values) for name, values in by.items()} for workload, by in samples.items()}


def show(figures, as_markdown):
    if as_markdown:
        print("| round | " + " | ".join(RESOURCES) + " |")
        print("|---" * (len(RESOURCES) + 1) + "|")
    table = new_table("microseconds per round (less is better)", "round", RESOURCES)
    for workload, by in sorted(figures.items()):
        best = min(by.values())
        cells = [f"{by[name]:.1f}" if name in by else "" for name in RESOURCES]
        if as_markdown:
            print(f"| {workload} | " + " | ".join(f"**{cell}**" if cell and by[name] == best else cell
                                                for name, cell in zip(RESOURCES, cells)) + " |")
        table.add_row(workload, *(bold(cell) if cell and by[name] == best else cell for name, cell in zip(RESOURCES, cells)))
    if not as_markdown:
        console().print(table)
