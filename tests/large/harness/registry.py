"""The list of the large programs.

Always holds: a program is a function that works with a Job, raises Failed when something is not as it must be, and
returns what must be the same under glibc and under the library; its packages stand in packages.txt under its name.
Who may use it: the modules in programs/, and main.py.
"""
import dataclasses
import pathlib
import typing

PACKAGES = pathlib.Path(__file__).resolve().parents[1] / "packages.txt"


class Failed(Exception):
    """Something is not as it must be; the text says what."""


@dataclasses.dataclass
class Program:
    """A program, and what must be true of a run under the library."""
    name: str
    work: typing.Callable
    # For each executable, or pattern: the live blocks that a process of it must have had at the least. 0 where the program
    # has an allocator of its own: there the library must have been loaded.
    serves: dict
    prepare: typing.Callable  # makes the input in job.input, under glibc, once for all runs; or None
    allowed: tuple           # patterns of lines of the library on standard error that are expected
    seconds: int             # after which a run has failed, whatever else the machine does meanwhile

    @property
    def packages(self):
        return packages().get(self.name, [])

    @property
    def summary(self):
        return (self.work.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


PROGRAMS = {}


def program(name, serves, prepare=None, allowed=(), seconds=1800):
    """Puts a function on the list."""
    def put(work):
        PROGRAMS[name] = Program(name, work, serves, prepare, tuple(allowed), seconds)
        return work
    return put


def packages():
    """Debian's packages of each program: lines `name: package package`, remarks behind #."""
    found = {}
    for line in PACKAGES.read_text().splitlines():
        name, colon, names = line.partition("#")[0].partition(":")
        if colon:
            found[name.strip()] = names.split()
    return found


def check(condition, what):
    if not condition:
        raise Failed(what)
