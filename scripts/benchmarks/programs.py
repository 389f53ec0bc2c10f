"""Programs as everything else sees them, and the project's own ones in tests/bench.

Always holds: what an own program stands for is the first comment line of its source, nowhere else; its first
argument is the share of its work in percent, its second (thread programs) the number of threads.
"""
import concurrent.futures
import dataclasses
import os
import re
import subprocess
import typing

from .machine import SOURCES, common, fail

# Measured at several numbers of threads; their figure is throughput.
THREAD_PROGRAMS = ("many_threads", "hand_over_threads")
FLAGS = ["-O2", "-fno-builtin", "-pthread", "-Wall", "-Wextra"]


@dataclasses.dataclass
class Program:
    name: str
    stands_for: str
    command: list
    kind: str = "own"  # own, real, suite, threads
    environment: dict = dataclasses.field(default_factory=dict)
    stdin: typing.Optional[str] = None
    figure: typing.Optional[typing.Callable] = None  # its output -> its own idea of time, None if it is not there
    same_output: bool = False  # under every allocator
    threads: typing.Optional[int] = None


def stands_for(source):
    """The sentence in a source's first comment line."""
    with open(source) as lines:
        sentence = re.sub(r"^(/\*|//)\s*|\s*\*/$", "", lines.readline().strip())
    if not sentence.startswith("Stands for "):
        fail(f"{source}: its first line does not say what it stands for", 1)
    return sentence.removeprefix("Stands for ").rstrip(".")


def own_sources():
    """The sources of the own programs by name."""
    sources = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.cc")])
    return {source.stem: source for source in sources if source.stem not in ("micro", "resources")}


def compile_one(source, program, *libraries):
    compiler = ["c++", "-std=c++17"] if source.suffix == ".cc" else ["cc", "-std=gnu11"]
    result = subprocess.run([*compiler, *FLAGS, "-o", program, source, *libraries], capture_output=True, text=True)
    if result.returncode != 0:
        fail(f"{source} does not compile:\n{result.stderr}", 1)
    return str(program)


def compile_all(sources, folder):
    """Compiles sources in parallel; programs by name."""
    if not common("install_build_tools"):
        fail("no compiler", 1)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {source.stem: pool.submit(compile_one, source, folder / source.stem) for source in sources}
        return {name: job.result() for name, job in jobs.items()}


def own_programs(names, folder, percent, points):
    """The own programs of these names, compiled; a thread program once for each number of threads."""
    sources = own_sources()
    compiled = compile_all([sources[name] for name in names], folder)
    for name in names:
        sentence = stands_for(sources[name])
        if name in THREAD_PROGRAMS:
            for threads in points:
                yield Program(f"{name}@{threads}", sentence, [compiled[name], str(percent), str(threads)], "threads",
                              same_output=True, threads=threads)
        else:
            yield Program(name, sentence, [compiled[name], str(percent)], same_output=True)
