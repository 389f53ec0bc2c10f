"""A copy of the project in which mistakes are made, one at a time, and its build.

Always holds: the project itself is only read. A copy stays for the next run, which writes and compiles what has changed
since; whatever a run was doing when it ended, the next one finds out by comparing files. A command that takes longer
than its limit is ended with all that it has started.
"""
import collections
import contextlib
import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time

from mistakes import ROOT

COPIED = ("meson.build", "meson_options.txt", "lib", "interpose", "scripts", "tests", "README.md")
LEFT_OUT = {"__pycache__", ".pytest_cache", "figures", "programs"}
OPTIONS = ["-Dtests=true", "-Dchecks=full", "-Dwerror=false"]
DEATH_PROGRAMS = re.compile(r"'([a-z_0-9]+)'")


class ListError(Exception):
    """The list is wrong, or the project is: not what is looked for here."""


@dataclasses.dataclass
class Ended:
    """How a command ended; `text` is what it wrote."""
    status: int
    text: str
    seconds: float
    is_late: bool = False


def descendants(process):
    """The processes that a process has started, and those that these have."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children = collections.defaultdict(list)
    for line in listing.splitlines():
        child, parent = map(int, line.split())
        children[parent].append(child)
    found = list(children[process])
    for each in found:
        found += children[each]
    return found


def run(command, limit, cwd, env=None):
    started = time.monotonic()
    child = subprocess.Popen(list(map(str, command)), cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    is_late = False
    try:
        text, _ = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        is_late = True
        for process in [child.pid, *descendants(child.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        text, _ = child.communicate()
    return Ended(child.returncode, text, time.monotonic() - started, is_late)


class Workshop:
    """One of the copies, by its number."""

    def __init__(self, number, jobs):
        self.number = number
        self.folder = ROOT / "build/mutants" / str(number)
        self.tree = self.folder / "tree"
        self.build = self.folder / "build"
        self.programs = self.build / "tests"
        self.jobs = jobs

    # --- The copy -----------------------------------------------------------------------------------------

    def update(self):
        """Makes the copy what the project is. What is the same keeps its time, so that it is not compiled again."""
        wanted = set()
        for name in COPIED:
            top = ROOT / name
            for path in [top] if top.is_file() else top.rglob("*"):
                inside = path.relative_to(ROOT)
                if path.is_file() and not LEFT_OUT & set(inside.parts[:-1]):
                    wanted.add(inside)
                    self.copy(path, self.tree / inside)
        for path in list(self.tree.rglob("*")):
            inside = path.relative_to(self.tree)
            if path.is_file() and inside.parts[0] != "build" and inside not in wanted:
                path.unlink()

    @staticmethod
    def copy(source, target):
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        shutil.copymode(source, target)

    def plant(self, mistake):
        path = self.tree / mistake.file
        path.write_text(mistake.made_in(path.read_text()))

    def restore(self, mistake):
        self.copy(ROOT / mistake.file, self.tree / mistake.file)

    # --- The build ----------------------------------------------------------------------------------------

    def compile(self, targets):
        """What the compiler says if it fails; None: it has not."""
        if not (self.build / "build.ninja").exists():
            made = run(["meson", "setup", self.build, self.tree, *OPTIONS], 300, self.folder)
            if made.status != 0:
                raise ListError(made.text)
        if not targets:
            return None
        self.serve_commands()
        ended = run(["ninja", "-C", self.build, f"-j{self.jobs}", *sorted(map(self.file_of, targets))], 3600, self.folder)
        return ended.text if ended.status != 0 else None

    def serve_commands(self):
        """The project's commands find the library where they would have built it, newer than its sources."""
        release = self.tree / "build/release"
        release.parent.mkdir(exist_ok=True)
        if not release.is_symlink():
            release.symlink_to(self.build)
        release.with_name("release.built").touch()

    def file_of(self, target):
        """The build's own name: that of a shared library has its version."""
        if not target.endswith(".so"):
            return target
        return re.search(rf"^build ({re.escape(target)}\.[0-9.]+):", (self.build / "build.ninja").read_text(), re.MULTILINE)[1]

    def death_programs(self):
        """Those that meson.build lists for the programs of tests/death."""
        text = (self.tree / "tests/meson.build").read_text().split("death_programs = []")[1].split("test('death'")[0]
        names = {name for each in re.findall(r"foreach name : \[([^]]*)\]", text) for name in DEATH_PROGRAMS.findall(each)}
        return {f"tests/death_{name}" for name in names}

    def targets(self, command):
        """What a test needs built."""
        first = shlex.split(command)[0]
        if not first.endswith(".py"):
            return {f"tests/{first}"}
        folder = pathlib.Path(first).parts[1]
        if folder in ("models", "layers", "builds"):
            return set()
        shared = {"libpoolalloc.so"}
        if first == "tests/death/test_secure.py":
            return {"libpoolalloc-secure.so", "tests/death_hardened", "tests/death_hardened_legal", "tests/stress"}
        if folder == "death":
            return shared | self.death_programs() | {"tests/stress"}
        if folder == "compat":
            return shared | {"libpoolalloc-secure.so", "libpoolalloc.a"}
        if folder == "unit":
            return shared | {"libpoolalloc-secure.so", "tests/api_c11", "tests/api_cxx17", "tests/api_resources_17",
                             "tests/api_resources_20"}
        return shared | {"libpoolalloc-secure.so", "libpoolalloc.a", "tests/faults", "tests/stress"}

    # --- Tests --------------------------------------------------------------------------------------------

    def environment(self):
        ours = {name: value for name, value in os.environ.items() if not name.startswith("POOLALLOC_")}
        library = self.build / "libpoolalloc.so"
        return {**ours, "POOLALLOC_LIB": str(library), "POOLALLOC_SECURE_LIB": str(library.with_name("libpoolalloc-secure.so")),
                "POOLALLOC_TEST_BUILD": str(self.build), "POOLALLOC_DEATH_PROGRAMS": str(self.programs),
                "POOLALLOC_CHECKS": "full", "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, test):
        first, *rest = shlex.split(test)
        if first.endswith(".py"):
            return ["/usr/bin/python3", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", first, *rest]
        if first.endswith("_test"):
            rest = [f"--gtest_filter={':'.join(rest)}"] if rest else []
        return [self.programs / first, *rest]

    def run_test(self, test, limit):
        return run(self.command(test), limit, self.tree, self.environment())

    def model_notices(self, test, limit):
        """What a model notices: the code is another one, and the mistake breaks a law. None: nothing."""
        mirror = self.run_test("tests/models/test_models.py -k mirror", limit)
        if mirror.status == 0:
            return None
        model = self.run_test(test, limit)
        law = re.search(r"^violated: (.*)", model.text, re.MULTILINE)
        return f"{test}: {law[1]}" if model.status == 1 and law else None


def what_failed(ended):
    """In a few words, from what a failing test has written."""
    if ended.is_late:
        return "does not end"
    found = re.search(r"internal check failed: (.{1,60})", ended.text)
    if found:
        return f"check {found[1]}"
    found = re.findall(r"\[  FAILED  \] (\S+)", ended.text) or re.findall(r"^FAILED \S+::(\S+)", ended.text, re.MULTILINE)
    if found:
        return found[0]
    return f"signal {-ended.status}" if ended.status < 0 else f"status {ended.status}"


def has_tested(test, ended):
    """Whether a test that passes has tested anything."""
    first = shlex.split(test)[0]
    if first.endswith("_test"):
        return re.search(r"\[  PASSED  \] [1-9]", ended.text) is not None
    return not first.endswith(".py") or re.search(r"\b[1-9]\d* passed", ended.text) is not None
