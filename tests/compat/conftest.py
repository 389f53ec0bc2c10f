"""The compatibility tests' fixtures: which library is tested, how programs are built and how they are run.

What always holds:
* The library is $POOLALLOC_LIB, or <repo>/build/release/libpoolalloc.so; the static one lies next to it.
* A program sees no environment but the one that `run` gives it, so nothing of the caller's leaks into a test.
* Every run has a time limit; what has not ended by then is killed with all its children, and the test fails.
* A program of src/ checks its own laws: it exits 0 and is silent, or says in one line what was violated.
"""
import hashlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
SRC = HERE / "src"
LIB = pathlib.Path(os.environ.get("POOLALLOC_LIB") or REPO / "build/release/libpoolalloc.so").absolute()

COMMON_FLAGS = ["-O1", "-g", "-fno-builtin", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{SRC}"]


def pytest_addoption(parser):
    try:
        parser.addoption("--slow", action="store_true", default=False, help="run the tests marked slow too")
    except ValueError:
        pass  # A conftest.py above this folder defines the same option.


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long; only run with --slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow") and HERE in pathlib.Path(item.fspath).parents]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


class Result:
    """How a run ended: `rc` as subprocess counts it (negative: the signal), what it wrote, how long it took."""

    def __init__(self, args, rc, out, err, seconds):
        self.args, self.rc, self.out, self.err, self.seconds = args, rc, out, err, seconds

    def __repr__(self):
        return (f"{' '.join(map(str, self.args))}\nexit {self.rc} after {self.seconds:.1f} s\n"
                f"stdout: {self.out[-2000:]!r}\nstderr: {self.err[-2000:]!r}")

    def ok(self):
        """The program found no violated law, and nobody wrote to stderr."""
        assert self.rc == 0, self
        assert self.err == "", self
        return self


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    """Where programs are built: readable for other users too, because some tests run as one of them."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="compat-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def copied(path, folder):
    """A copy of the library, so that a build that goes on meanwhile does not change what is tested."""
    if not path.is_file():
        pytest.fail(f"no library at {path}: build it, or name another one by POOLALLOC_LIB", pytrace=False)
    folder.mkdir()
    return pathlib.Path(shutil.copy(path, folder / f"libpoolalloc{path.suffix}"))


@pytest.fixture(scope="session")
def lib(workdir):
    """The shared library under test, with its soname beside it."""
    copy = copied(LIB, workdir / "shared")
    dynamic = subprocess.run(["readelf", "-dW", copy], stdout=subprocess.PIPE, text=True, check=True).stdout
    for soname in re.findall(r"\(SONAME\).*\[(.*)\]", dynamic):
        if soname != copy.name:
            (copy.parent / soname).symlink_to(copy.name)
    return copy


@pytest.fixture(scope="session")
def static_lib(workdir):
    """The static library under test."""
    return copied(LIB.with_suffix(".a"), workdir / "static")


@pytest.fixture(scope="session")
def secure_lib():
    """The hardened library."""
    return pathlib.Path(os.environ.get("POOLALLOC_SECURE_LIB") or LIB.with_name("libpoolalloc-secure.so"))


@pytest.fixture(params=["ordinary", "secure"])
def either(request, lib, secure_lib):
    """What `run` is told to run a program under the ordinary library, and once more under the hardened one."""
    return {"preload": False, "before": [lib if request.param == "ordinary" else secure_lib]}


@pytest.fixture(scope="session")
def linked(lib):
    """Flags that link a program with -lpoolalloc and let it find the library at run time."""
    return [f"-L{lib.parent}", "-lpoolalloc", f"-Wl,-rpath,{lib.parent}"]


@pytest.fixture(scope="session")
def build(workdir):
    """build("name.c", "-flag", ..., common=COMMON_FLAGS) compiles src/name.c once per set of flags; returns the program."""
    def compile_once(source, *flags, common=COMMON_FLAGS):
        path = SRC / source
        tag = hashlib.sha256(repr((flags, common)).encode()).hexdigest()[:8]
        shared = "-shared" in flags
        program = workdir / f"{path.stem}-{tag}{'.so' if shared else ''}"
        if not program.exists():
            compiler = ["g++", "-std=gnu++17"] if path.suffix == ".cc" else ["gcc", "-std=gnu11"]
            before = [flag for flag in flags if not str(flag).startswith(("-l", "-L"))]
            libs = [flag for flag in flags if str(flag).startswith(("-l", "-L"))]
            command = [*compiler, *common, *before, path, "-o", program, *libs]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            assert done.returncode == 0, " ".join(map(str, command)) + "\n" + done.stdout
        return program
    return compile_once


@pytest.fixture(scope="session")
def shared(build):
    """shared("name.c", ...) builds src/name.c as a shared library."""
    return lambda source, *flags: build(source, "-shared", "-fPIC", *flags)


@pytest.fixture(scope="session")
def run(lib, workdir):
    """run([program, argument, ...]) runs it with the library preloaded, and returns a Result.

    preload: False for a run without any preloaded library; before, after: libraries preloaded around the tested one;
    env: more variables; limits: {resource.RLIMIT_X: bytes}; user: the uid to run as; stdin: text; timeout: seconds.
    """
    def run_once(args, *, preload=True, before=(), after=(), env=None, limits=None, user=None, stdin="", timeout=30):
        chain = [*before, *([lib] if preload else []), *after]
        variables = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/tmp", "LC_ALL": "C",
                     "COMPAT_LIB": str(lib) if preload else ""}
        if chain:
            variables["LD_PRELOAD"] = ":".join(map(str, chain))
        if "POOLALLOC_TEST_PAGE_SIZE" in os.environ:
            variables["POOLALLOC_TEST_PAGE_SIZE"] = os.environ["POOLALLOC_TEST_PAGE_SIZE"]
        variables.update(env or {})

        def prepare():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for which, amount in (limits or {}).items():
                resource.setrlimit(which, (amount, amount))
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
        started = os.times().elapsed
        child = subprocess.Popen(list(map(str, args)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=variables, preexec_fn=prepare, start_new_session=True,
                                 cwd=workdir)
        try:
            out, err = child.communicate(stdin.encode(), timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            result = Result(args, child.returncode, out.decode(errors="replace"), err.decode(errors="replace"),
                            os.times().elapsed - started)
            pytest.fail(f"did not end within {timeout} s\n{result!r}", pytrace=False)
        return Result(args, child.returncode, out.decode(errors="replace"), err.decode(errors="replace"),
                      os.times().elapsed - started)
    return run_once


@pytest.fixture(scope="session")
def laws(build, run):
    """laws("name.c", argument, ...) builds and runs a self-checking program and asserts that every law held, silently."""
    def check(source, *args, flags=(), **how):
        return run([build(source, *flags), *args], **how).ok()
    return check
