"""`poolalloc run --stats`, `--profile` and `--leaks`: runs a program, and says at its end what it and its children needed,
who has allocated that, and what of it nothing points to.

The processes keep their figures in files (lib/api/stats_file.h), so that the end by a signal or by _exit is covered, too.

Always holds: standard input and output are the program's; signals that are sent to this process go on to it; the exit
status, or the signal that ended it, is the program's.
"""
import dataclasses
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from .amounts import size_text, table_lines, time_text
from .places import USAGE_STATUS, Failed
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
    sys.stdout.flush()
    # No core of this process.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -status)
    sys.exit(128 - status)


@dataclasses.dataclass
class Wanted:
    """What the caller asks for, as the shell script says it: texts, empty ones for what he does not."""
    stats: str
    profile: str
    leaks: str
    leaks_status: str  # the exit status where something is lost and the program has none of its own

    def environment(self, folder):
        """Variables for the program, whose processes leave files in a folder."""
        variables = {}
        if self.stats:
            variables["POOLALLOC_STATS"] = f"{folder}/stats"
            os.mkdir(f"{folder}/stats")
        if self.leaks:
            variables["POOLALLOC_PROFILE"] = f"leaks:{folder}/%p.pb.gz"
        elif self.profile:
            variables["POOLALLOC_PROFILE"] = f"{self.profile}:{os.getcwd().replace('%', '%%')}/poolalloc-%p.pb.gz"
        return variables


def stats_lines(folder, ended, name):
    found = read_folder(folder)
    own = [figures for figures in found if figures.process == ended.process]
    if not own:
        return [f"no figures: the library did not serve {name} (poolalloc check {name})"]
    # The kernel's figure is that of the process, of those children that it has waited for, and of this one, whose
    # copy the process was before it became the program.
    most = ended.usage.ru_maxrss
    is_its = len(found) == len(own) and most > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = summary_lines(own[-1], ending_text(ended.status), ended.seconds, most * 1024 if is_its else 0)
    return lines + (tree_lines(tree(found, ended.process)) if len(found) > 1 else [])


def leaks_lines(folder, child, name):
    """Of all processes, the program's own first; and whether one of them has lost blocks."""
    from . import pprof
    from .profile import leak_lines
    lines, is_lost = [], False
    files = {int(path.name.split(".")[0]): path for path in pathlib.Path(folder).glob("*.pb.gz")}
    if child not in files:
        lines.append(f"no leaks were looked for: {name} has not come to its end, or the library did not serve it "
                     f"(poolalloc check {name})")
    for process in sorted(files, key=lambda each: (each != child, each)):
        of_it, has_lost = leak_lines(pprof.read(files[process]), process)
        is_lost |= has_lost
        # Of others, only what is worth a look.
        if process == child or has_lost:
            lines += of_it
    return lines, is_lost


def profile_lines(child, name):
    from .profile import end_lines
    path = f"poolalloc-{child}.pb.gz"
    return end_lines(path) if os.path.exists(path) else [
        f"no profile: {name} has not come to its end, or the library did not serve it (poolalloc check {name})"]


@dataclasses.dataclass
class Ended:
    """A program's end."""
    process: int
    status: int  # negative: the signal
    usage: object
    seconds: float


def follow(program, arguments, environment):
    """Runs a program, a path and its argument vector, and hands signals on to it; OSError: it cannot be started."""
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in OF_TERMINAL}
    # Those that come before there is somebody to hand them on wait.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)

    def prepare():
        # As this process found them.
        for number, before in ignored.items():
            signal.signal(number, signal.SIG_IGN if before == signal.SIG_IGN else signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    started = time.monotonic()
    try:
        child = subprocess.Popen(arguments, executable=program, env=environment, preexec_fn=prepare, close_fds=False)
        for number in FORWARDED:
            signal.signal(number, lambda number, frame: child.send_signal(number))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    while True:
        try:
            _, status, usage = os.wait4(child.pid, 0)
            return Ended(child.pid, os.waitstatus_to_exitcode(status), usage, time.monotonic() - started)
        except InterruptedError:
            continue


def run(wanted, program, arguments, preload):
    """Runs a program, a path and its argument vector, and says what was wanted; ends as it has ended."""
    folder = tempfile.mkdtemp(prefix="poolalloc-run-")
    try:
        ended = follow(program, arguments, {**os.environ, "LD_PRELOAD": preload, **wanted.environment(folder)})
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        say([f"{arguments[0]}: {error.strerror}"])
        sys.exit(126)
    lines, name, status = [], arguments[0], ended.status
    try:
        if wanted.stats:
            lines += stats_lines(f"{folder}/stats", ended, name)
        if wanted.leaks:
            of_leaks, is_lost = leaks_lines(folder, ended.process, name)
            lines += of_leaks
            if is_lost and status == 0 and wanted.leaks_status:
                status = int(wanted.leaks_status)
        elif wanted.profile:
            lines += profile_lines(ended.process, name)
    except Failed as failed:
        lines.append(str(failed))
        status = USAGE_STATUS if status == 0 and wanted.leaks_status else status
    shutil.rmtree(folder, ignore_errors=True)
    say(lines)
    die_like(status)
