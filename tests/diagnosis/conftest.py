"""What the tests of tools share: programs that are compiled once, and runs of fixed length in a fixed environment.

What always holds: the library is a copy by the name libpoolalloc.so, or the hardened one's; what has not ended in time is
killed with its children, and the test fails.
"""
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
LIBRARY = pathlib.Path(os.environ["POOLALLOC_LIB"])


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    copy = pathlib.Path(shutil.copy(LIBRARY, folder / LIBRARY.name))
    (folder / "libpoolalloc.so.0").symlink_to(copy.name)
    return copy


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """compiled("name.c", flag...): the program, compiled by gcc or `compiler`."""
    folder = tmp_path_factory.mktemp("programs")

    def build(source, *flags, compiler="gcc"):
        program = folder / f"{compiler}-{source}-{abs(hash(flags))}"
        if not program.exists():
            subprocess.run([compiler, "-g", "-O1", "-fno-builtin", "-Wall", "-Wextra", "-Werror", "-pthread", HERE / source,
                            *map(str, flags), "-o", program], check=True)
        return program
    return build


class Ended:
    def __init__(self, words, status, out, err):
        self.words, self.status, self.out, self.err = words, status, out, err

    def __repr__(self):
        return f"{' '.join(self.words)}: status {self.status}\nstdout: {self.out[-3000:]}\nstderr: {self.err[-3000:]}"


@pytest.fixture
def run(tmp_path):
    """run(words, preload=[...], timeout=30, NAME=value...): how it ended and what it said."""
    def call(words, preload=(), timeout=60, **variables):
        words = [str(word) for word in words]
        env = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "DEBUGINFOD_URLS": "",
               **{name: str(value) for name, value in variables.items()}}
        if preload:
            env["LD_PRELOAD"] = ":".join(map(str, preload))
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
                              cwd=tmp_path, start_new_session=True) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                pytest.fail(f"{' '.join(words)} did not end within {timeout} s\n{out[-2000:]}\n{err[-2000:]}", pytrace=False)
        return Ended(words, process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
    return call
