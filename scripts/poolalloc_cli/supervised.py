"""`poolalloc run --stats`: runs a program, and says at its end what it and its children needed.

The processes keep their figures in files (lib/api/stats_file.h), so that the end by a signal or by _exit is covered, too.

Always holds: standard input and output are the program's; signals that are sent to this process go on to it; the exit
status, or the signal that ended it, is the program's.
"""
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from .amounts import size_text, table_lines, time_text
from .stats_file import read_folder, tree

# Those that others send to end or to steer a program; a terminal's go to the program anyway.
FORWARDED = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT]
OF_TERMINAL = [signal.SIGINT, signal.SIGQUIT]


def say(lines):
    """One write, so that the lines stay together."""
    os.write(2, "".join(f"poolalloc: {line}\n" for line in lines).encode())


def ending_text(status):
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"


def summary_lines(figures, ending, seconds, resident):
    """What one program needed."""
    lines = [f"summary of process {figures.process} ({figures.program}): {ending} after {time_text(seconds)}"]
    if not figures.ended:
        lines.append("  (as of the last time that it took memory)")
    budget = size_text(figures.budget)
    lines += [
        f"  peak live       {size_text(figures.peak_live_bytes)} in {figures.peak_live_blocks} blocks",
        f"  live now        {size_text(figures.live_bytes)} in {figures.live_blocks} blocks",
        f"  peak resident   {size_text(max(resident, figures.peak_resident))} (the whole process)",
        f"  peak for blocks {size_text(figures.peak_for_blocks)} (pools and large blocks, touched or not)",
        f"  kept for reuse  {size_text(figures.kept)}",
        f"  of at most      {budget}" + ("" if budget == "unlimited" else " (at this moment)"),
        f"  given back      {size_text(figures.purged)} (to the kernel, in all)",
        f"  needed again    {size_text(figures.needed_again)} of that",
        f"  threads         {figures.threads} at most at one time"]
    if figures.invalid_frees:
        lines.append(f"  invalid frees   {figures.invalid_frees}")
    return lines


def tree_lines(roots):
    """The programs, each below the one that has started it, the largest first."""
    rows = []

    def add(node, indent):
        figures = node.figures
        rows.append([size_text(figures.peak_resident), size_text(figures.peak_live_bytes),
                     size_text(figures.live_bytes), f"{indent}{figures.program} ({figures.process})" +
                     ("" if figures.ended else " *")])
        for child in node.children:
            add(child, indent + "  ")
    for root in roots:
        add(root, "")
    lines = ["by process, the largest first:"]
    lines += ["  " + line for line in table_lines(["peak resident", "peak live", "live at end", "process"], rows)]
    if any(row[-1].endswith("*") for row in rows):
        lines.append("  * ended by a signal, or is running still: as of the last time that it took memory")
    return lines


def die_like(status):
    """Ends this process as the program has ended."""
    if status >= 0:
        sys.exit(status)
    # No core of this process.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -status)
    sys.exit(128 - status)


def run(program, arguments, preload):
    """Runs a program, a path and its argument vector."""
    folder = tempfile.mkdtemp(prefix="poolalloc-stats-")
    environment = {**os.environ, "LD_PRELOAD": preload, "POOLALLOC_STATS": folder}
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in OF_TERMINAL}

    def prepare():
        # As this process found them.
        for number, before in ignored.items():
            signal.signal(number, signal.SIG_IGN if before == signal.SIG_IGN else signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    started = time.monotonic()
    try:
        child = subprocess.Popen(arguments, executable=program, env=environment, preexec_fn=prepare, close_fds=False)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        say([f"{arguments[0]}: {error.strerror}"])
        sys.exit(126)
    for number in FORWARDED:
        signal.signal(number, lambda number, frame: child.send_signal(number))
    while True:
        try:
            _, status, usage = os.wait4(child.pid, 0)
            break
        except InterruptedError:
            continue
    seconds = time.monotonic() - started
    status = os.waitstatus_to_exitcode(status)
    found = read_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)
    own = [figures for figures in found if figures.process == child.pid]
    if not own:
        say([f"no figures: the library did not serve {arguments[0]} (poolalloc check {arguments[0]})"])
    else:
        # The kernel's figure is that of the process, of those children that it has waited for, and of this one, whose
        # copy the process was before it became the program.
        is_its = len(found) == len(own) and usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        lines = summary_lines(own[-1], ending_text(status), seconds, usage.ru_maxrss * 1024 if is_its else 0)
        if len(found) > 1:
            lines += tree_lines(tree(found, child.pid))
        say(lines)
    die_like(status)
