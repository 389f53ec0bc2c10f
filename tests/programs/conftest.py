"""Fixtures for the tests that run real programs under libpoolalloc.

Every test runs a program twice, without and with the library in LD_PRELOAD,
and wants the same output, exit status and files; a server is started with the
library, put under load, asked for answers that are known, and stopped.

What always holds:
  * the library comes from POOLALLOC_LIB, by default build/release/libpoolalloc.so
    of this repository; a missing library or program is a failure, never a skip;
  * a program sees a small fixed environment, not the one of the caller, so
    the two runs differ in LD_PRELOAD only;
  * every process has a time limit, and when a test is over every process that
    came out of it is killed, daemons included;
  * tests marked slow run only with --slow.
"""

import contextlib
import ctypes
import difflib
import glob
import hashlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import namedtuple

import pytest

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PR_SET_CHILD_SUBREAPER = 36

# The Debian package of each program or file that a test needs.
PACKAGES = {
    "apt-get": "apt",
    "awk": "mawk",
    "bash": "bash",
    "bwrap": "bubblewrap",
    "cgi-fcgi": "libfcgi-bin",
    "chroot": "coreutils",
    "clang": "clang",
    "cmake": "cmake",
    "dig": "bind9-dnsutils",
    "file": "file",
    "find": "findutils",
    "g++": "g++",
    "gcc": "gcc",
    "gdb": "gdb",
    "git": "git",
    "grep": "grep",
    "groff": "groff-base",
    "gs": "ghostscript",
    "gzip": "gzip",
    "java": "openjdk-17-jdk-headless",
    "javac": "openjdk-17-jdk-headless",
    "ls": "coreutils",
    "make": "make",
    "memcached": "memcached",
    "man": "man-db",
    "nginx": "nginx",
    "/usr/sbin/named": "bind9",
    "/usr/sbin/php-fpm*": "php8.2-fpm",
    "ninja": "ninja-build",
    "node": "nodejs",
    "openssl": "openssl",
    "perl": "perl",
    "/usr/lib/postgresql/*/bin/postgres": "postgresql-15",
    "python3": "python3",
    "redis-benchmark": "redis-tools",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "ruby": "ruby",
    "sed": "sed",
    "sort": "coreutils",
    "sqlite3": "sqlite3",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "/usr/sbin/sshd": "openssh-server",
    "su": "util-linux",
    "systemd-analyze": "systemd",
    "tar": "tar",
    "tmux": "tmux",
    "wrk": "wrk",
    "xargs": "findutils",
    "xz": "xz-utils",
    "/usr/lib/x86_64-linux-gnu/security/pam_rootok.so": "libpam-modules",
    "/usr/lib/python3*/test/test_dict.py": "libpython3.11-testsuite",
}

Result = namedtuple("Result", "status out err files")


# ---- command line --------------------------------------------------------

def pytest_addoption(parser):
    with contextlib.suppress(ValueError):  # the directory above may define it too
        parser.addoption("--slow", action="store_true", default=False,
                         help="run the tests marked slow as well")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long, runs with --slow only")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow", default=False):
        return
    late = [i for i in items if HERE in i.path.parents and i.get_closest_marker("slow")]
    if late:
        config.hook.pytest_deselected(items=late)
        items[:] = [i for i in items if i not in late]


# ---- processes -----------------------------------------------------------

def descendants(root):
    """The pids of all living processes below root."""
    children = {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            text = pathlib.Path(stat).read_text(errors="replace")
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        if state not in "ZX":
            children.setdefault(int(parent), []).append(int(stat.split("/")[2]))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def reap_orphans(known):
    """Collect dead children of this process that nobody waits for."""
    for stat in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = pathlib.Path(stat).read_text(errors="replace")
            state, parent = text.rpartition(")")[2].split()[:2]
            pid = int(stat.split("/")[2])
            if state == "Z" and int(parent) == os.getpid() and pid not in known:
                os.waitpid(pid, os.WNOHANG)


@pytest.fixture(autouse=True)
def nothing_left_running():
    """Kill whatever a test leaves behind. Daemons detach themselves from the
    process that started them, so this process adopts orphans."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = set(descendants(os.getpid()))
    yield
    end = time.monotonic() + 10
    while time.monotonic() < end:
        left = [p for p in descendants(os.getpid()) if p not in before]
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        reap_orphans(before)
        if not left:
            return
        time.sleep(0.02)
    pytest.fail(f"processes {left} cannot be killed")


def wait_until(condition, what, timeout=30, pause=0.05):
    """The first true value of condition(), or a failure after the time limit."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"timed out after {timeout} s: {what}")
        time.sleep(pause)


# ---- the library and the programs ----------------------------------------

@pytest.fixture(scope="session")
def library():
    """The library under test, as an absolute path."""
    path = pathlib.Path(os.environ.get("POOLALLOC_LIB")
                        or REPO / "build/release/libpoolalloc.so").absolute()
    if not path.is_file():
        pytest.fail(f"the library under test is absent: {path} "
                    "(build it, or set POOLALLOC_LIB)", pytrace=False)
    return path


@pytest.fixture
def short_dir():
    """A temporary directory with a short name, which a unix socket needs, and
    which other users may enter, which tmp_path does not allow."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="pa-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def programs(library, tmp_path, nothing_left_running):
    return Programs(library, tmp_path)


def find_program(name):
    """The path of a program, or a failure that says what to install."""
    if name == "postgres":
        name = "/usr/lib/postgresql/*/bin/postgres"
    if name.startswith("/"):
        path = (sorted(glob.glob(name)) or [None])[-1]
    else:
        path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        pytest.fail(f"{name} is not installed: apt-get install {PACKAGES[name]}", pytrace=False)
    return path


@pytest.fixture(scope="session", name="find_program")
def find_program_fixture():
    return find_program


class Programs:
    """Runs programs with and without the library."""

    def __init__(self, library, tmp):
        self.library = library
        self.tmp = tmp
        self.home = tmp / "home"
        self.home.mkdir()
        self.temporary = tmp / "t"
        self.temporary.mkdir()

    # -- finding and starting

    def need(self, name):
        return find_program(name)

    def children(self, pid):
        """The living processes below a process."""
        return descendants(pid)

    def env(self, preload, extra=None):
        """The whole environment of a program."""
        env = {"PATH": SEARCH_PATH, "HOME": str(self.home), "TMPDIR": str(self.temporary),
               "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "xterm", "SHELL": "/bin/bash",
               "USER": pwd.getpwuid(os.getuid()).pw_name}
        if preload:
            env |= {k: v for k, v in os.environ.items()
                    if k.startswith("POOLALLOC_") and k != "POOLALLOC_LIB"}
            env["LD_PRELOAD"] = str(self.library)
        return env | (extra or {})

    def popen(self, argv, preload=True, env=None, **kw):
        """Start a program in a session of its own."""
        argv = [str(a) for a in argv]
        if "/" not in argv[0]:
            argv[0] = self.need(argv[0])
        kw.setdefault("cwd", self.tmp)
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(argv, env=self.env(preload, env), start_new_session=True, **kw)

    def run(self, argv, preload=True, timeout=60, stdin="", status=0, **kw):
        """Run a program to its end; status None allows any exit status."""
        # Files, not pipes: a daemon that keeps a pipe open would block the reader.
        with tempfile.TemporaryFile() as fin, tempfile.TemporaryFile() as out, \
                tempfile.TemporaryFile() as err:
            fin.write(stdin.encode())
            fin.seek(0)
            with self.popen(argv, preload, stdin=fin, stdout=out, stderr=err, **kw) as proc:
                try:
                    code = proc.wait(timeout)
                except subprocess.TimeoutExpired:
                    with contextlib.suppress(OSError):
                        os.killpg(proc.pid, signal.SIGKILL)
                    code = f"killed after {timeout} s"
            texts = []
            for stream in out, err:
                stream.seek(0)
                texts.append(stream.read().decode(errors="backslashreplace"))
        result = Result(code, *texts, {})
        if status is not None and code != status or isinstance(code, str):
            pytest.fail(f"{str(argv)[:600]} {'with' if preload else 'without'} the library: status {code}\n"
                        f"stdout ends: {texts[0][-3000:]}\nstderr ends: {texts[1][-3000:]}")
        return result

    # -- comparing

    def same(self, argv, setup=None, files=(), clean=None, **kw):
        """Run argv without and with the library, each time in a fresh directory
        of the same name which setup(directory) may fill; output, status and
        the contents of the files matching the globs must be equal."""
        results = []
        for preload in False, True:
            work = self.tmp / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            if setup:
                setup(work)
            result = self.run(argv, preload, cwd=work, **kw)
            if clean:
                result = result._replace(out=clean(result.out), err=clean(result.err))
            results.append(result._replace(files=digests(work, files)))
        assert_same(*results)
        return results[1]

    def same_script(self, interpreter, text, suffix="", **kw):
        """The same for a script text given to an interpreter."""
        script = self.tmp / f"script{suffix}"
        script.write_text(text)
        return self.same([*interpreter, script], **kw)

    # -- proving that the library is there

    def assert_mapped(self, pid):
        """The library is in the address space of a living process."""
        maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
        assert self.library.name in maps, \
            f"the library is not mapped in {pid}: {pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()}"

    def assert_mapped_in_all(self, pid, least=1):
        """The library is in a process and in all below it, least or more."""
        pids = [pid, *descendants(pid)]
        assert len(pids) >= least, f"only {len(pids)} processes below {pid}"
        for each in pids:
            self.assert_mapped(each)

    def assert_loaded_by(self, argv, **kw):
        """The dynamic linker initialises the library in every process that a
        command starts."""
        logs = self.tmp / "ld"
        logs.mkdir()
        self.run(argv, env={"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(logs / "log")}, **kw)
        texts = [p.read_text(errors="replace") for p in logs.iterdir()]
        assert texts, f"{argv} has no dynamic linker"
        for text in texts:
            assert f"calling init: {self.library}" in text, f"{argv}: not preloaded\n{text}"

    # -- servers

    @contextlib.contextmanager
    def server(self, argv, ready, stop=signal.SIGTERM, timeout=60, **kw):
        """A server that is up inside the block; after it the stop signal must
        end it with status 0."""
        log = self.tmp / f"server-{time.monotonic_ns()}.log"
        with open(log, "wb") as out:
            proc = self.popen(argv, stdout=out, stderr=subprocess.STDOUT, **kw)
        try:
            def up():
                assert proc.poll() is None, f"{argv} ended with {proc.returncode}"
                return ready()
            wait_until(up, f"{argv} to be ready")
            yield proc
            assert proc.poll() is None, f"{argv} ended early with {proc.returncode}"
            proc.send_signal(stop)
            assert proc.wait(timeout) == 0, f"{argv}: status {proc.returncode}"
        except BaseException:
            print(f"log of {argv}:\n{log.read_text(errors='replace')[-4000:]}")
            raise
        finally:
            for pid in [*descendants(proc.pid), proc.pid]:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            proc.wait()


def digests(root, patterns):
    """The hash of each file below root that matches one of the globs."""
    found = {}
    for pattern in patterns:
        names = sorted(p for p in root.glob(pattern) if p.is_file())
        assert names, f"no file {pattern} was made"
        found |= {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
                  for p in names}
    return found


def assert_same(plain, preloaded):
    """Two results are equal; the message shows the lines that differ."""
    for part in Result._fields:
        a, b = getattr(plain, part), getattr(preloaded, part)
        if a != b:
            if isinstance(a, dict):
                a, b = ("\n".join(f"{v} {k}" for k, v in sorted(d.items())) for d in (a, b))
            lines = difflib.unified_diff(str(a).splitlines(), str(b).splitlines(),
                                         "without", "with", lineterm="", n=1)
            pytest.fail(f"{part} differs:\n" + "\n".join(list(lines)[:60]), pytrace=False)


def free_port():
    """A port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(name="free_port")
def free_port_fixture():
    return free_port


@pytest.fixture(name="wait_until")
def wait_until_fixture():
    return wait_until


@pytest.fixture(name="assert_same")
def assert_same_fixture():
    return assert_same


@pytest.fixture
def package_table():
    return PACKAGES
