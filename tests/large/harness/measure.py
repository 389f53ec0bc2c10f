"""A run in a process of its own, which sees all processes that come out of it, and what they need.

Figures: wall time; processor time, user and system, of all processes that were waited for by their parents, and of
those that have lost their parents; peak memory, the largest sum of PSS (what a process has resident, shared pages divided
among those that share them) over the processes that are alive at one moment, looked at ten times a second, less often
where looking takes long or the machine is loaded; and the largest resident size that one of the processes has ever had,
which the kernel knows and no look can miss.

Always holds: when a run is over, every process that came out of it has ended, and no other one was touched.
Who may use it: main.py.
"""
import ctypes
import json
import os
import pathlib
import resource
import signal
import threading
import time
import traceback

import psutil

from .registry import Failed

PR_SET_CHILD_SUBREAPER = 36
LOOK_SECONDS = 0.1
# The part of a processor that looking may take.
LOOK_SHARE = 0.1


def adopt_orphans():
    """From now on, processes that lose their parent become children of this one."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all():
    """Ends and collects every process below this one."""
    for _ in range(500):
        below = psutil.Process().children(recursive=True)
        for process in below:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)
    raise Failed(f"processes {[process.pid for process in below]} cannot be ended")


class Watcher(threading.Thread):
    """Looks at the processes below this one, again and again."""

    def __init__(self, library):
        super().__init__(daemon=True)
        self.library = library and library.name
        self.peak = 0
        self.most_processes = 0
        self.mapped = {}  # for each (process, executable): whether the library was in its address space
        self.is_over = threading.Event()
        self.lock = threading.Lock()

    def run(self):
        while True:
            began = time.monotonic()
            self.look()
            if self.is_over.wait(max(LOOK_SECONDS, (time.monotonic() - began) / LOOK_SHARE)):
                return

    def look(self):
        with self.lock:
            self.look_alone()

    def look_alone(self):
        total = count = 0
        for process in psutil.Process().children(recursive=True):
            try:
                executable = os.path.basename(os.readlink(f"/proc/{process.pid}/exe"))
                total += process.memory_full_info().pss
                count += 1
                if self.library and not self.mapped.get((process.pid, executable)):
                    maps = pathlib.Path(f"/proc/{process.pid}/maps").read_text(errors="replace")
                    self.mapped[process.pid, executable] = self.library in maps
            except (OSError, psutil.Error):
                # It has ended meanwhile.
                continue
        self.peak = max(self.peak, total)
        self.most_processes = max(self.most_processes, count)

    def executables(self):
        """For each executable that was seen: in how many processes the library was mapped, and in how many not."""
        found = {}
        for (_, executable), is_mapped in self.mapped.items():
            counts = found.setdefault(executable, [0, 0])
            counts[not is_mapped] += 1
        return found


def measured(action, library):
    """Runs action(look) in this process, where look() looks at what all processes need at that moment. Its result, or what
    is wrong, and the figures."""
    watcher = Watcher(library)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result, error = None, None
    watcher.start()
    began = time.monotonic()
    try:
        result = action(watcher.look)
    except Failed as failed:
        error = str(failed)
    except Exception:
        error = traceback.format_exc()
    wall = time.monotonic() - began
    watcher.is_over.set()
    watcher.join()
    end_all()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"result": result, "error": error, "wall": wall,
            "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "peak": watcher.peak or None, "largest": after.ru_maxrss * 1024, "processes": watcher.most_processes,
            "executables": watcher.executables()}


def in_process(action, library, seconds, report):
    """Runs action(look) in a process of its own and returns what `measured` says; `report` is a file for that."""
    adopt_orphans()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            adopt_orphans()
            report.write_text(json.dumps(measured(action, library)))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    try:
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                return {"error": f"it has not ended after {seconds} s", "result": None}
            time.sleep(0.05)
    finally:
        # Also when this process is told to end.
        end_all()
    if not report.exists():
        return {"error": "the process that runs it has ended early", "result": None}
    return json.loads(report.read_text())
