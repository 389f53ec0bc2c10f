"""The micro-benchmarks: tests/bench/micro.cc on Google Benchmark, from compiling to the table.

Always holds: repetitions are interleaved over the allocators, another one first in each; figures are
nanoseconds of wall time per step of a benchmark, medians over the repetitions.
"""
import json
import os
import pathlib
import subprocess

from .machine import SOURCES, install
from .programs import compile_one
from .progress import progress
from .report import bold, console, new_table, ratio_text
from .results import Results

UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


def compiled(folder):
    if not pathlib.Path("/usr/include/benchmark/benchmark.h").exists():
        install(["libbenchmark-dev"], "--micro")
    return compile_one(SOURCES / "micro.cc", folder / "micro", "-lbenchmark")


def run_once(program, allocator, seconds, pattern):
    """Nanoseconds by benchmark, or an error."""
    command = [program, "--benchmark_format=json", f"--benchmark_min_time={seconds}", f"--benchmark_filter={pattern}"]
    environment = {**os.environ, "LD_PRELOAD": allocator.library}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode != 0 or "cannot be preloaded" in result.stderr:
        return None, (result.stderr.strip() or f"status {result.returncode}").splitlines()[-1]
    return {entry["name"].replace("/real_time", ""): entry["real_time"] * UNITS[entry["time_unit"]]
            for entry in json.loads(result.stdout)["benchmarks"]}, ""


def run_all(program, allocators, rounds, quick, only):
    """Results with one program per benchmark; errors by allocator."""
    order, samples, errors = list(allocators.values()), {}, {}
    pattern = "|".join(only) or "."
    with progress(rounds * len(order)) as shown:
        for turn in range(rounds):
            first = turn % len(order)
            for allocator in order[first:] + order[:first]:
                shown.start(f"repetition {turn + 1}/{rounds}", "micro", allocator.name)
                found, error = run_once(program, allocator, 0.01 if quick else 0.1, pattern)
                shown.finish("micro", allocator.name, error)
                if error:
                    errors[allocator.name] = error
                for name, value in (found or {}).items():
                    by_allocator = samples.setdefault(name, {other: [] for other in allocators})
                    by_allocator[allocator.name].append({"time": value})
    return Results(samples), errors


def print_table(results, base, peers):
    ours = [name for name in results.allocators if name not in peers][0]
    title = f"nanoseconds per step (of batch and cross_thread: 1000 blocks): median (ratio to {base})"
    table = new_table(title, "benchmark", [*results.allocators, f"{ours} / best peer"])
    for name in results.samples:
        medians = {allocator: results.median(name, allocator, "time") for allocator in results.allocators}
        best = min(value for value in medians.values() if value is not None)
        cells = []
        for allocator, value in medians.items():
            if value is None:
                cells.append("failed")
                continue
            text = f"{value:.1f} ({ratio_text(results.ratio(name, allocator, 'time', base))})"
            cells.append(bold(text) if value == best else text)
        peer = results.best_peer(name, "time", peers)
        table.add_row(name, *cells, f"{ratio_text(results.ratio(name, ours, 'time', peer))} {peer}" if peer else "-")
    names = list(results.samples)
    table.add_section()
    means = [results.mean_ratio(allocator, "time", base, names) for allocator in results.allocators]
    to_best = results.mean_ratio_to_best(ours, "time", peers, names)
    table.add_row("geometric mean", *map(ratio_text, means), ratio_text(to_best))
    console().print(table)
