"""The memory probes in tests/bench/memory: what comes back, what stays, and what that costs.

Always holds: a probe's figures are medians over the rounds; less is better but for those in MORE_IS_BETTER; runs
are interleaved as in runner.py, with memory warmed before each; the plot shows the last round.
"""
import os
import subprocess

from . import programs
from .machine import SOURCES, available_mebibytes, fail, say
from .plots import prepared, save, stem, styles
from .progress import progress
from .report import bold, console, new_table, program_list
from .results import Results

# By probe: what to touch beforehand, MiB, and whether --quick has it.
PROBES = {"peak": (1300, True), "saw_tooth": (1300, False), "idle_threads": (600, True),
          "worker_pool": (500, False), "buffers": (700, True), "short_threads": (100, False), "ring": (100, True),
          "hand_overs": (200, False), "forks": (800, False), "survivors": (600, True), "large_blocks": (400, True),
          "service": (300, True)}
MORE_IS_BETTER = {"million_per_s"}
SERVICE_SECONDS, QUICK_SERVICE_SECONDS, QUICK_PERCENT = 60, 5, 25
TIMEOUT_S = 1200  # the service probe may be asked to run for long


def sources():
    return {name: SOURCES / "memory" / f"{name}.c" for name in PROBES}


def known_probes():
    """Names, and what each stands for."""
    return {name: programs.stands_for(source) for name, source in sources().items()}


def run_once(command, allocator):
    """Figures by name, samples (ms, MiB live, MiB resident), or an error."""
    environment = {**os.environ, "LD_PRELOAD": allocator.library}
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {}, [], "did not end"
    if result.returncode != 0 or "cannot be preloaded" in result.stderr:
        return {}, [], (result.stderr.strip() or f"status {result.returncode}").splitlines()[-1]
    words = [line.split() for line in result.stdout.splitlines()]
    figures = {name: float(value) for kind, name, value in (w for w in words if w[0] == "figure")}
    samples = [(int(ms), int(live) / 1024, int(resident) / 1024)
               for kind, ms, live, resident in (w for w in words if w[0] == "sample")]
    return figures, samples, ""


def run_all(allocators, folder, rounds, quick, only, seconds):
    """Results whose programs are "PROBE FIGURE", the samples of the last round by probe and allocator, and errors."""
    unknown = [name for name in only if name not in PROBES]
    if unknown:
        fail(f"--only: no such probe: {', '.join(unknown)} (see --memory --list)")
    names = only or [name for name, (_, is_quick) in PROBES.items() if is_quick or not quick]
    compiled = programs.compile_all([sources()[name] for name in names], folder)
    warm = programs.compile_one(SOURCES / "tools/warm.c", folder / "warm")
    seconds = seconds or (QUICK_SERVICE_SECONDS if quick else SERVICE_SECONDS)
    order, figures, traces, errors = list(allocators.values()), {}, {}, []
    with progress(rounds * len(names) * len(order)) as shown:
        for turn in range(rounds):
            first = turn % len(order)
            for name in names:
                for allocator in order[first:] + order[:first]:
                    shown.start(f"round {turn + 1}/{rounds}", name, allocator.name)
                    subprocess.run([warm, str(min(PROBES[name][0], available_mebibytes() // 2))], check=False)
                    command = [compiled[name], str(QUICK_PERCENT if quick else 100)]
                    found, samples, error = run_once(command + ([str(seconds)] if name == "service" else []), allocator)
                    shown.finish(name, allocator.name, error)
                    if error:
                        errors.append((name, allocator.name, error))
                    for figure, value in found.items():
                        by_allocator = figures.setdefault(f"{name} {figure}", {other: [] for other in allocators})
                        by_allocator[allocator.name].append({"value": value})
                    traces.setdefault(name, {})[allocator.name] = samples
    return Results(figures), traces, errors


def print_table(results, peers):
    out = console()
    out.print(probe_list(results))
    ours = [name for name in results.allocators if name not in peers][0]
    table = new_table("figures of the probes, medians (_s: seconds, _mib: MiB): less is better but for million_per_s",
                      "probe and figure", [*results.allocators, f"{ours} / best peer"])
    for name in results.samples:
        more = name.split()[1] in MORE_IS_BETTER
        medians = {allocator: results.median(name, allocator, "value") for allocator in results.allocators}
        known = [value for value in medians.values() if value is not None]
        best = (max if more else min)(known)
        cells = ["failed" if value is None else bold(text(value)) if value == best else text(value)
                 for value in medians.values()]
        peer = results.best_peer(name, "value", peers, more)
        ratio = results.ratio(name, ours, "value", peer) if peer else None
        table.add_row(name, *cells, f"{ratio:.2f} {peer}" if ratio is not None else "-")
    out.print(table)


def probe_list(results):
    shown = dict.fromkeys(name.split()[0] for name in results.samples)
    return program_list((name, sentence) for name, sentence in known_probes().items() if name in shown)


def text(value):
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def plot(traces, path):
    """Resident memory over time, one picture per probe; live memory as the first allocator's program counted it."""
    pyplot = prepared()
    columns = min(2, len(traces))
    rows = -(-len(traces) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(5.5 * columns, 2.6 * rows), squeeze=False, layout="constrained")
    style = {name: {key: value for key, value in chosen.items() if key != "marker"}
             for name, chosen in styles(next(iter(traces.values()))).items()}
    for axis, (probe, by_allocator) in zip(axes.flat, traces.items()):
        for name, samples in by_allocator.items():
            axis.plot([ms / 1000 for ms, _, _ in samples], [resident for _, _, resident in samples], label=name,
                      linewidth=1, **style[name])
        live = next(iter(by_allocator.values()))
        axis.plot([ms / 1000 for ms, _, _ in live], [value for _, value, _ in live], color="black", linestyle=":",
                  linewidth=1, label="live")
        axis.set_title(probe, fontsize=9)
        axis.set_ylim(bottom=0)
        axis.grid(linewidth=0.3)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[len(traces):]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("MiB resident", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("seconds", fontsize=8)
    axes.flat[0].legend(fontsize=6, ncol=2)
    save(figure, stem(path))
    pyplot.close(figure)
    say(f"{stem(path)}.png and {stem(path)}.svg written")
