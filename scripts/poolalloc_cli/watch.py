"""`poolalloc stats`, `top`, `map` and `trim`: a running process, looked at from outside.

Always holds: as in process.py; `top` needs a terminal and gives it back as it was.
"""
import collections
import json
import os
import pathlib
import re
import select
import sys
import tempfile
import termios
import time
import tty

from . import heap_map
from .amounts import bar, share, size_text, table_lines
from .places import Failed, need, statistics_table
from .process import TRIM, find_process
from .snapshot import heap_title
from .supervised import die_like, follow, say

SHOWN_MOST = 10  # size classes and heaps


def figures_of(process):
    """Keys and values as poolalloc_stats_json has them, how much is resident, and the names of threads."""
    figures, names = process.snapshot().figures(), process.thread_names()
    for heap in figures["heaps"]:
        if heap["thread"] in names:
            heap["name"] = names[heap["thread"]]
    figures["memory"]["resident"] = process.resident()
    return {"version": 1, "process": process.pid, "program": process.name, **figures}


def utilisation(row):
    return share(row["live"] * row["size"], row["pool_bytes"])


def class_lines(classes):
    rows = [[str(row["size"]), str(row["pools"]), size_text(row["pool_bytes"]), str(row["live"]), str(row["under_way"]),
             str(row["free"]), str(row["hidden"]), str(row["untouched"]), utilisation(row)]
            for row in classes]
    return table_lines(["block", "pools", "of", "live", "under way", "free", "in holes", "untouched", "utilisation"], rows)


def heap_lines(heaps, most=SHOWN_MOST):
    """The largest heaps."""
    rows = [[str(row["pools"]), size_text(row["pool_bytes"]), size_text(row["live_bytes"]), str(row["batches"]),
             str(row["mailbox"]), str(row["sent_messages"]), heap_title(row["kind"], row["thread"], row.get("name"))]
            for row in sorted(heaps, key=lambda row: -row["pool_bytes"])[:most]]
    return table_lines(["pools", "of", "live", "batches", "mailbox", "messages sent", "heap"], rows)


def stats(word, as_json):
    process = find_process(word)
    figures = figures_of(process)
    if as_json:
        print(json.dumps(figures))
        return 0
    print(f"process {process.pid} ({process.name}), {size_text(figures['memory']['resident'])} resident")
    for section, key, meaning in statistics_table():
        if section in ("classes", "heaps") or key not in figures[section]:
            continue
        value = figures[section][key]
        amount = str(value) if meaning.startswith("number of") or section in ("threads", "misuse") else size_text(value)
        print(f"  {section:12} {key.replace('_', ' '):16} {amount:>10}  {meaning.removeprefix('number of ')}")
    largest = sorted(figures["classes"], key=ORDERS["m"][1], reverse=True)[:SHOWN_MOST]
    print("\n".join(["", *class_lines(largest), "", *heap_lines(figures["heaps"])]))
    return 0


def sparkline(values, width):
    values = list(values)[-width:]
    most = max(values, default=0) or 1
    return "".join(bar(value / (most + 1)) for value in values)


# What `top` sorts size classes by, by its key.
ORDERS = {"m": ("pools' memory", lambda row: row["pool_bytes"]), "l": ("live bytes", lambda row: row["live"] * row["size"]),
          "f": ("free bytes", lambda row: (row["free"] + row["hidden"] + row["untouched"]) * row["size"]),
          "s": ("block size", lambda row: -row["size"])}


class View:
    """What `top` shows, from one look to the next."""

    def __init__(self, process):
        self.process = process
        self.history = collections.defaultdict(lambda: collections.deque(maxlen=300))
        self.order = "m"
        self.messages = None  # and when

    def rows(self, figures):
        """What is drawn over time."""
        retention, now = figures["retention"], time.monotonic()
        count, (before, since) = figures["remote"]["messages"], self.messages or (figures["remote"]["messages"], now - 1)
        self.messages = count, now
        return [("live", figures["blocks"]["live_bytes"], size_text), ("resident", figures["memory"]["resident"], size_text),
                ("kept for reuse", figures["memory"]["kept"], size_text), ("may be kept", retention["budget"], size_text),
                ("regret", retention["regret"], size_text), ("given back", retention["given_back"], size_text),
                ("messages / s", int((count - before) / max(now - since, 0.001)), str)]

    def look(self, width, height):
        """A rich group of what fits."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text
        figures = figures_of(self.process)
        head = Table(box=None, padding=(0, 1), header_style="bold")
        for heading, justify in ("", "left"), ("now", "right"), ("most seen", "right"), ("over time", "left"):
            head.add_column(heading, justify=justify, no_wrap=True)
        rows = self.rows(figures)
        for name, value, write in rows:
            self.history[name].append(value)
            head.add_row(name, write(value), write(max(self.history[name])), sparkline(self.history[name], max(20, width - 44)))
        name, key = ORDERS[self.order]
        room = max(height - len(rows) - 8, 4)
        heaps = heap_lines(figures["heaps"], max(room // 3, 2))
        classes = sorted(figures["classes"], key=key, reverse=True)[:room - len(heaps)]
        title = (f"process {self.process.pid} ({self.process.name}), {figures['threads']['now']} threads, by {name}; "
                 "sort by m memory, l live, f free, s size; q quits")
        return Group(Text(title, style="bold"), head, Text(), Text("\n".join(class_lines(classes)), no_wrap=True, overflow="crop"), Text(),
                     Text("\n".join(heaps), no_wrap=True, overflow="crop"))


def top(word, interval):
    """A live view, until q is pressed or the process ends."""
    process = find_process(word)
    need("rich", "python3-rich")
    from rich.live import Live
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise Failed("top needs a terminal; `poolalloc stats` does not")
    view, before = View(process), termios.tcgetattr(sys.stdin)

    def look():
        size = os.get_terminal_size()
        return view.look(size.columns, size.lines)
    try:
        tty.setcbreak(sys.stdin)
        with Live(look(), auto_refresh=False, screen=True) as live:
            while True:
                ready, _, _ = select.select([sys.stdin], [], [], interval)
                key = os.read(sys.stdin.fileno(), 1).decode(errors="replace").lower() if ready else ""
                if key in ("q", "\x1b") or (ready and not key):
                    return 0
                view.order = key if key in ORDERS else view.order
                live.update(look(), refresh=True)
    except KeyboardInterrupt:
        return 0
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def kept_text(accounts):
    return size_text(max(accounts("dirty_free", signed=True), 0))


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


def memory_map(word, picture):
    """How much of the process's memory is what, by /proc/PID/smaps, and a picture of the heap."""
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
    accounts = process.accounts()
    print(f"process {process.pid} ({process.name}): {size_text(accounts('in_use'))} in use of "
          f"{size_text(accounts('mapped'))} that the library has mapped, {kept_text(accounts)} kept for reuse")
    print("\n".join(table_lines(["address space", "resident", "private", "in huge pages", "what"], rows)))
    snapshot = process.snapshot()
    print()
    draw(heap_map.rows_of(snapshot.chunks, snapshot.read_extents()), process.pid, process.name, picture)
    return 0


def draw(rows, pid, name, picture):
    title = f"process {pid} ({name}): {heap_map.sums(rows)}"
    if picture is None:
        print("\n".join([title, *heap_map.terminal_lines(rows, sys.stdout.isatty())]))
    elif picture.endswith(".png"):
        heap_map.write_png(rows, picture)
    else:
        pathlib.Path(picture).write_text(heap_map.svg(rows, title))


def map_at_exit(words, picture, library):
    """Runs a program under the library, draws its heap as it was at its end, and ends as it has ended."""
    with tempfile.TemporaryDirectory(prefix="poolalloc-map-") as folder:
        environment = {**os.environ, "LD_PRELOAD": " ".join(filter(None, [library, os.environ.get("LD_PRELOAD")])),
                       "POOLALLOC_STATS": f"map:{folder}/%p"}
        try:
            ended = follow(words[0], words, environment)
        except OSError as error:
            raise Failed(f"{words[0]}: {error.strerror}", 127 if isinstance(error, FileNotFoundError) else 126) from None
        left = pathlib.Path(folder, str(ended.process))
        if left.exists():
            draw(*heap_map.rows_of_file(left), picture)
        elif ended.status == 0:
            raise Failed(f"{words[0]} has left no map: it is not under the library", 1)
        else:
            say([f"{words[0]} has left no map: it was killed, or is not under the library"])
    die_like(ended.status)


# --- Giving memory back -----------------------------------------------------------------------------------------

def trim(word, seconds):
    """Asks the process to give free memory back, as malloc_trim does, and waits for that."""
    process = find_process(word)
    before = process.accounts()
    if not process.ask(TRIM, seconds):
        print(f"process {process.pid} has not come by yet: it will when it allocates or frees next, out of its lists")
        return 1
    after = process.accounts()
    print(f"process {process.pid} has given {size_text(max(after('purged') - before('purged'), 0))} back; "
          f"{size_text(process.resident())} resident, {kept_text(after)} kept")
    return 0
