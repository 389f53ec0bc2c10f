"""A folder of programs that mimalloc-bench built, run as that suite runs them.

Always holds: arguments follow from this machine's number of processors; a program's time is what the suite
takes for it, wall time or a figure of the program's own made into "less is better"; a program that the
folder lacks is named and left out.
"""
import os
import pathlib
import re

from .machine import fail, say
from .programs import Program


def number_behind(pattern, numerator=None):
    """A figure: the number that a pattern finds in a program's output, or numerator divided by it."""
    def figure(output):
        match = re.search(pattern, output, re.MULTILINE)
        value = float(match.group(1)) if match else 0.0
        if value <= 0:
            return None
        return value if numerator is None else numerator / value
    return figure


RELATIVE_TIME = number_behind(r"relative time: ([0-9.]+)")
OWN_RTIME = number_behind(r"^rtime: ([0-9.]+)")
MEMORY_OPERATIONS = number_behind(r"\.\.\.([0-9]+) memory ops", 2e6)
ITERATIONS = number_behind(r"^([0-9]+) iterations", 1e9)


def known_programs(processors):
    """Every known program: name, what it stands for, words, its input's possible names, its figure."""
    n = str(processors)
    programs = [
        ("cfrac", "factoring with many small numbers", ["cfrac", "17545186520507317056371138836327483792789528"]),
        ("espresso", "logic minimisation, one thread", ["espresso", "INPUT"],
         ["largest.espresso", "espresso/largest.espresso"]),
        ("barnes", "simulation of bodies, few allocations", ["barnes"], ["barnes.input", "barnes/input"]),
        ("larsonN", "servers: blocks outlive the threads that made them (figure: operations)",
         ["larson", "5", "8", "1000", "5000", "100", "4141", n], [], RELATIVE_TIME),
        ("larsonN-sized", "the same with sized delete (figure: operations)",
         ["larson-sized", "5", "8", "1000", "5000", "100", "4141", n], [], RELATIVE_TIME),
        ("mstressN", "threads that come and go and exchange blocks", ["mstress", n, "50", "25"]),
        ("rptestN", "random sizes to 16 KB, cross-thread frees (figure: operations per processor second)",
         ["rptest", n, "0", "1", "2", "500", "1000", "100", "8", "16000"], [], MEMORY_OPERATIONS),
        ("alloc-test1", "random sizes and lifetimes, one thread", ["alloc-test", "1"]),
        ("alloc-testN", "random sizes and lifetimes, all processors", ["alloc-test", str(min(processors, 16))]),
        ("sh6benchN", "small blocks, partly freed in reverse order", ["sh6bench", str(2 * processors)]),
        ("sh8benchN", "small blocks, partly freed by other threads", ["sh8bench", str(2 * processors)]),
        ("xmalloc-testN", "threads that allocate for threads that free (figure: frees)",
         ["xmalloc-test", "-w", n, "-t", "5", "-s", "64"], [], OWN_RTIME),
        ("cache-scratch1", "passive false sharing, one thread", ["cache-scratch", "1", "1000", "1", "2000000", n]),
        ("cache-scratchN", "passive false sharing", ["cache-scratch", n, "1000", "1", "2000000", n]),
        ("cache-thrash1", "active false sharing, one thread", ["cache-thrash", "1", "1000", "1", "2000000", n]),
        ("cache-thrashN", "active false sharing", ["cache-thrash", n, "1000", "1", "2000000", n]),
        ("glibc-simple", "glibc's benchmark of malloc, one thread", ["glibc-simple"]),
        ("glibc-thread", "glibc's benchmark of malloc, threads (figure: iterations)",
         ["glibc-thread", n], [], ITERATIONS),
        ("malloc-large", "buffers of megabytes", ["malloc-large"]),
        ("mleak10", "thread exits, a few", ["mleak", "5"]),
        ("mleak100", "thread exits, many", ["mleak", "50"]),
    ]
    twice = ("alloc-testN", "cache-scratchN", "cache-thrashN") if processors == 1 else ()
    return [program for program in programs if program[0] not in twice]


def find_input(folder, names):
    """An input beside the programs, or where the suite's source tree has it, seen from its out/bench."""
    places = [folder / name for name in names] + [folder / "../../bench" / name for name in names]
    return next((str(place.resolve()) for place in places if place.is_file()), None)


def suite_programs(folder, only=()):
    """The programs that the folder has, of those asked for (all if none is)."""
    folder = pathlib.Path(folder).resolve()
    if not folder.is_dir():
        fail(f"--suite: {folder}: no such folder")
    found, missing, seen = [], [], set()
    for name, sentence, words, *more in known_programs(os.cpu_count() or 1):
        inputs, figure = (more + [[], None][len(more):])
        program = folder / words[0]
        seen.add(name)
        if only and name not in only and words[0] not in only:
            continue
        text = find_input(folder, inputs) if inputs else None
        if not (program.is_file() and os.access(program, os.X_OK)):
            missing.append(name)
        elif inputs and text is None:
            missing.append(f"{name} (its input {inputs[0]})")
        else:
            command = [str(program), *(text if word == "INPUT" else word for word in words[1:])]
            stdin = text if text and "INPUT" not in words else None
            found.append(Program(name, sentence, command, "suite", {}, stdin, figure))
        seen.add(words[0])
    unknown = set(only) - seen
    if unknown:
        fail(f"--only: the suite has no {', '.join(sorted(unknown))}")
    if missing:
        say(f"--suite: not there, left out: {', '.join(missing)}")
    if not found:
        fail(f"--suite: {folder} has no program of mimalloc-bench")
    return found
