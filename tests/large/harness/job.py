"""One run of a program: its folder, its environment, and the processes that it starts.

Always holds: a process sees a small fixed environment, which differs between the two runs in LD_PRELOAD and in the
variables of the library only; the folder has the same name in both runs; what a process writes to standard error is
kept in a file below `logs`.
Who may use it: the functions in programs/.
"""
import contextlib
import hashlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections import namedtuple

from .registry import Failed

SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
Output = namedtuple("Output", "text errors")


class Job:
    """What a program's function works with."""

    def __init__(self, folder, preload, seconds):
        self.input = folder / "input"    # what `prepare` has made; the runs only read it
        self.folder = folder / "work"    # empty at the start of a run
        self.logs = folder / "logs"
        self.stats = folder / "stats"
        self.preload = preload           # the library, or None
        self.seconds = seconds           # how long a program runs that has no end of its own
        self.notes = []                  # what the table says besides
        self.look = None                 # looks at once at what all processes need
        self.processes = 0
        for path in self.folder, self.logs, self.stats, self.folder / "home", self.folder / "tmp":
            path.mkdir()
            # Servers run as users of their own.
            path.chmod(0o1777)

    def environment(self, extra=None):
        env = {"PATH": SEARCH_PATH, "HOME": f"{self.folder}/home", "TMPDIR": f"{self.folder}/tmp", "LC_ALL": "C.UTF-8",
               "TZ": "UTC", "TERM": "xterm", "SHELL": "/bin/bash", "USER": pwd.getpwuid(os.getuid()).pw_name}
        if self.preload:
            env |= {key: os.environ[key] for key in os.environ if key.startswith("POOLALLOC_") and key != "POOLALLOC_LIB"}
            env |= {"LD_PRELOAD": str(self.preload), "POOLALLOC_STATS": str(self.stats)}
        return env | (extra or {})

    def find(self, name):
        """The path of a program that a package has brought; a pattern names one whose folder has a version."""
        if name.startswith("./"):
            return name  # of the run's folder
        found = sorted(pathlib.Path("/").glob(name[1:])) if name.startswith("/") else shutil.which(name, path=SEARCH_PATH)
        if not found:
            raise Failed(f"{name} is not installed")
        return str(found[-1]) if isinstance(found, list) else found

    def start(self, arguments, env=None, cwd=None, stdin=subprocess.DEVNULL, stdout=None, **options):
        """Starts a program. Its standard output goes to a file below `logs` unless the caller wants it elsewhere."""
        arguments = [str(each) for each in arguments]
        self.processes += 1
        log = f"{self.logs}/{self.processes:03}-{os.path.basename(arguments[0])}"
        with contextlib.ExitStack() as files:
            errors = files.enter_context(open(log + ".err", "wb"))
            if stdout is None:
                stdout = files.enter_context(open(log + ".out", "wb"))
            process = subprocess.Popen([self.find(arguments[0]), *arguments[1:]], env=self.environment(env),
                                       cwd=cwd or self.folder, stdin=stdin, stdout=stdout, stderr=errors,
                                       start_new_session=True, **options)
        process.log = log
        return process

    def finish(self, process, status=0, timeout=None):
        """Waits for a program's end; None allows any status."""
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"{process.args[0]} has not ended after {timeout} s") from None
        logs = pathlib.Path(process.log + ".out"), pathlib.Path(process.log + ".err")
        output = Output(*(log.read_text(errors="backslashreplace") if log.exists() else "" for log in logs))
        if status is not None and code != status:
            ending = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            raise Failed(f"{' '.join(process.args)[:200]}: {ending}; {(output.errors or output.text)[-600:].strip()}")
        return output

    def run(self, *arguments, status=0, text=None, timeout=None, **options):
        """Runs a program to its end; `text` is its standard input."""
        if text is None:
            return self.finish(self.start(arguments, **options), status, timeout)
        given = self.folder / "tmp/stdin"
        given.write_text(text)
        given.chmod(0o644)
        with open(given, "rb") as stdin:
            return self.finish(self.start(arguments, stdin=stdin, **options), status, timeout)

    @contextlib.contextmanager
    def server(self, arguments, ready, stop=signal.SIGTERM, status=0, **options):
        """A server that is up inside the block. After it, the stop signal must end it."""
        process = self.start(arguments, **options)

        def is_up():
            if process.poll() is not None:
                self.finish(process, status=-1)
            return ready()
        self.wait_until(is_up, f"{arguments[0]} to be ready")
        yield process
        if process.poll() is not None:
            self.finish(process, status=-1)
        process.send_signal(stop)
        self.finish(process, status, timeout=300)

    def wait_until(self, condition, what, timeout=300):
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise Failed(f"waited in vain for {what}")
            time.sleep(0.05)

    def note(self, text):
        """Says something in the table."""
        self.notes.append(text)


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def free_port():
    """A port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
