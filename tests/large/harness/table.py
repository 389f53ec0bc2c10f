"""What is said of the runs: a line while they go on, a table and JSON at the end.

Always holds: standard output has the table only; ratios are those of the library to glibc.
Who may use it: main.py.
"""
import json
import os
import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

FIGURES = {"wall": "time", "cpu": "processor time", "peak": "peak memory", "largest": "largest process"}
# From here on a ratio is worth a look.
MUCH = 1.10


def amount(figure, value):
    if value is None:
        return ""
    return f"{value / 2**20:.0f} MiB" if figure in ("peak", "largest") else f"{value:.1f} s"


def ratio(line, figure):
    glibc, own = (line.figures.get((side, figure)) for side in ("glibc", "library"))
    return own / glibc if own is not None and glibc else None


def ratio_text(value):
    if value is None:
        return Text("")
    return Text(f"{value:.2f}", style="bold red" if value > MUCH else "green" if value < 1 / MUCH else "")


def columns(line):
    for figure in FIGURES:
        yield Text(amount(figure, line.figures.get(("glibc", figure))))
        yield Text(amount(figure, line.figures.get(("library", figure))))
        yield ratio_text(ratio(line, figure))


def say(text):
    print(f"large: {text}", file=sys.stderr, flush=True)


def say_line(line):
    ratios = [f"{name} {ratio(line, figure):.2f}" for figure, name in FIGURES.items() if ratio(line, figure) is not None]
    say(f"{line.name}: {line.outcome}{'; to glibc: ' if ratios else ''}{', '.join(ratios)}")
    for problem in line.problems:
        say(f"{line.name}: {problem}")


def print_table(lines):
    width = os.get_terminal_size().columns if sys.stdout.isatty() else 220
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("program", no_wrap=True)
    table.add_column("result", no_wrap=True)
    for title in FIGURES.values():
        for side in f"{title}\nglibc", "\nlibrary", "\nratio":
            table.add_column(side, justify="right", no_wrap=True)
    table.add_column("served, live blocks at the peak; remarks", overflow="fold")
    for line in lines:
        style = {"passed": "green", "failed": "bold red"}.get(line.outcome, "yellow")
        remarks = "; ".join([problem[:200] for problem in line.problems] + line.notes)
        table.add_row(line.name, Text(line.outcome, style=style), *columns(line), Text(remarks))
    console = Console(width=width, highlight=False)
    console.print(table)
    passed = sum(line.outcome == "passed" for line in lines)
    console.print(f"{passed} of {len(lines)} passed. Processor time: user and system of all processes. "
                  "Peak memory: largest sum of PSS over them that a look has seen.\n"
                  "Largest process: largest resident size of one of them, as the kernel knows it.")


def write_json(lines, path):
    with open(path, "w") as out:
        json.dump([{"program": line.name, "outcome": line.outcome, "problems": line.problems, "notes": line.notes,
                    **{f"{side}_{figure}": value for (side, figure), value in line.figures.items()}} for line in lines],
                  out, indent=1)
