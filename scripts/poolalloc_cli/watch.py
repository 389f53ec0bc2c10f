"""`poolalloc stats`, `top`, `map` and `trim`: a running process, looked at from outside.

Always holds: as in process.py; `top` needs a terminal and gives it back as it was.
"""
import collections
import dataclasses
import json
import os
import re
import select
import sys
import termios
import tty

from .amounts import size_text, table_lines
from .places import Failed, need
from .process import TRIM, find_process

EXPLAINED = {"in_use": "in pools and large blocks, touched or not", "peak": "the most of that at one time",
             "kept": "free memory that may be resident", "mapped": "address space", "purged": "given back, in all",
             "large": "the large blocks of what is in use", "resident": "the whole process"}
BARS = "▁▂▃▄▅▆▇█"


def stats(word, as_json):
    process = find_process(word)
    sample = dataclasses.asdict(process.sample())
    if as_json:
        print(json.dumps({"process": process.pid, "program": process.name, **sample}))
        return 0
    print(f"process {process.pid} ({process.name})")
    for name, value in sample.items():
        print(f"  {name.replace('_', ' '):10} {size_text(value):>10}  {EXPLAINED[name]}")
    return 0


def sparkline(values, width):
    values = list(values)[-width:]
    most = max(values, default=0) or 1
    return "".join(BARS[min(len(BARS) - 1, value * len(BARS) // (most + 1))] for value in values)


def top(word, interval):
    """A live view, until q is pressed or the process ends."""
    process = find_process(word)
    need("rich", "python3-rich")
    from rich.live import Live
    from rich.table import Table
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise Failed("top needs a terminal; `poolalloc stats` does not")
    history = collections.defaultdict(lambda: collections.deque(maxlen=300))
    before = termios.tcgetattr(sys.stdin)

    def view():
        sample = dataclasses.asdict(process.sample())
        width = max(20, os.get_terminal_size().columns - 60)
        table = Table(title=f"process {process.pid} ({process.name}), every {interval:g} s; q quits", title_justify="left")
        for heading, justify in (("", "left"), ("now", "right"), ("most seen", "right"), ("since the start", "left")):
            table.add_column(heading, justify=justify)
        for name, value in sample.items():
            history[name].append(value)
            table.add_row(name.replace("_", " "), size_text(value), size_text(max(history[name])),
                          sparkline(history[name], width))
        return table
    try:
        tty.setcbreak(sys.stdin)
        with Live(view(), auto_refresh=False, screen=True) as live:
            while True:
                ready, _, _ = select.select([sys.stdin], [], [], interval)
                if ready and sys.stdin.read(1) in ("q", "Q", "\x1b"):
                    return 0
                live.update(view(), refresh=True)
    except KeyboardInterrupt:
        return 0
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


# --- Where its memory is ----------------------------------------------------------------------------------------

def kind_of(path, is_library):
    if is_library:
        return "the library's own file"
    if path in ("[heap]", "[stack]"):
        return {"[heap]": "brk", "[stack]": "stack"}[path]
    if path.startswith("["):
        return "the kernel's"
    if path:
        return "files"
    return "anonymous: blocks, thread stacks, others' mappings"


def memory_map(word):
    """How much of the process's memory is what, by /proc/PID/smaps."""
    process = find_process(word)
    try:
        text = (process.folder / "smaps").read_text(errors="replace")
    except PermissionError:
        raise Failed(f"no right to look at process {process.pid}", 1) from None
    sums = collections.defaultdict(lambda: [0, 0, 0, 0])
    for area in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", text):
        head = area.split("\n", 1)[0].split(None, 5)
        path = head[5] if len(head) > 5 else ""
        figures = {name: int(value) * 1024 for name, value in re.findall(r"^(\w+): +(\d+) kB", area, re.M)}
        total = sums[kind_of(path, "/libpoolalloc" in path)]
        for i, name in enumerate(("Size", "Rss", "Private_Dirty", "AnonHugePages")):
            total[i] += figures.get(name, 0)
    rows = [[*map(size_text, total), kind] for kind, total in sorted(sums.items(), key=lambda each: -each[1][1])]
    sample = process.sample()
    print(f"process {process.pid} ({process.name}): {size_text(sample.in_use)} in use of {size_text(sample.mapped)} that "
          f"the library has mapped, {size_text(sample.kept)} kept for reuse")
    print("\n".join(table_lines(["address space", "resident", "private", "in huge pages", "what"], rows)))
    return 0


# --- Giving memory back -----------------------------------------------------------------------------------------

def trim(word, seconds):
    """Asks the process to give free memory back, as malloc_trim does, and waits for that."""
    process = find_process(word)
    before = process.sample()
    if not process.ask(TRIM, seconds):
        print(f"process {process.pid} has not come by yet: it will when it allocates or frees next, out of its lists")
        return 1
    after = process.sample()
    print(f"process {process.pid} has given {size_text(max(after.purged - before.purged, 0))} back; "
          f"{size_text(after.resident)} resident, {size_text(after.kept)} kept")
    return 0
