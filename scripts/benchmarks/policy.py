"""The retention policy alone: tests/bench/policy/histories.cc replays made-up histories, without an allocator.

Always holds: figures and pictures depend on the source only, not on the machine.
"""
import subprocess

from . import memory
from .machine import ROOT, SOURCES, fail
from .report import console, new_table


def replayed(folder):
    """(purged MiB, needed again MiB) and samples (ms, MiB live, MiB resident) by history."""
    program = folder / "histories"
    command = ["c++", "-std=c++20", "-O1", f"-I{ROOT / 'lib'}", f"-I{ROOT / 'tests/unit'}", "-o", program,
               SOURCES / "policy/histories.cc"]
    compiled = subprocess.run(command, capture_output=True, text=True)
    if compiled.returncode != 0:
        fail(f"the histories do not compile:\n{compiled.stderr}", 1)
    figures, samples = {}, {}
    for line in subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines():
        kind, name, *values = line.split()
        if kind == "figure":
            figures[name] = tuple(map(int, values))
        else:
            ms, live, resident = map(int, values)
            samples.setdefault(name, []).append((ms, live / 1024, resident / 1024))
    return figures, samples


def show(folder, path):
    figures, samples = replayed(folder)
    table = new_table("the retention policy alone, MiB", "history", ["most live", "most resident", "given back",
                                                                     "needed again", "resident at the end"])
    for name, (purged, again) in figures.items():
        most = [max(sample[i] for sample in samples[name]) for i in (1, 2)]
        table.add_row(name, *(f"{value:.0f}" for value in (*most, purged, again, samples[name][-1][2])))
    console().print(table)
    if path:
        memory.plot({name: {"poolalloc": trace} for name, trace in samples.items()}, path)
