"""`poolalloc compare -- PROGRAM ARGUMENT...`: is it worth it? Runs the program under glibc's allocator and under the
library in turn, and says what that gave.

Always holds: runs are interleaved, another allocator first in each round; a figure is the median of the ratios within
rounds; what the program prints goes nowhere.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import time

from .amounts import size_text, table_lines, time_text
from .places import Failed, library
from .programs import find_program

# What Debian's packages and others have; the first that is there.
PEERS = {"mimalloc": ["libmimalloc.so.2", "libmimalloc.so.3"], "jemalloc": ["libjemalloc.so.2"],
         "tcmalloc": ["libtcmalloc_minimal.so.4", "libtcmalloc.so.4"], "tbbmalloc": ["libtbbmalloc_proxy.so.2"],
         "snmalloc": ["libsnmallocshim.so"], "rpmalloc": ["librpmallocwrap.so"]}


def installed_peers():
    folders = [pathlib.Path(path) for pattern in ("/usr/lib", "/usr/local/lib", "/lib")
               for path in (pattern, *map(str, pathlib.Path(pattern).glob("*-linux-gnu")))]
    found = {}
    for name, files in PEERS.items():
        paths = [folder / file for file in files for folder in folders if (folder / file).exists()]
        if paths:
            found[name] = str(paths[0])
    return found


def run_once(path, arguments, preload):
    """(seconds, processor seconds, peak resident bytes) of a run."""
    environment = {**os.environ, **({"LD_PRELOAD": preload} if preload else {})}
    started = time.monotonic()
    child = subprocess.Popen(arguments, executable=path, env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = 0
    if b"cannot be preloaded" in errors:
        raise Failed(f"{preload} cannot be preloaded", 1)
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, status


def ratio(samples, name, figure):
    """The median of ratios to glibc within rounds, and their spread."""
    ratios = [own[figure] / base[figure] for own, base in zip(samples[name], samples["glibc"]) if base[figure] > 0]
    return (statistics.median(ratios), min(ratios), max(ratios)) if ratios else (1.0, 1.0, 1.0)


def ratio_text(found):
    return f"{found[0]:.2f} ({found[1]:.2f}-{found[2]:.2f})"


def advice(samples):
    """One line. Less than three per cent is no difference, nor is less than ten on which the rounds do not agree."""
    def settled(found):
        median, least, most = found
        agree = least > 1 or most < 1
        return median if abs(median - 1) >= (0.03 if agree else 0.1) else 1.0
    time_ratio, memory_ratio = settled(ratio(samples, "poolalloc", 1)), settled(ratio(samples, "poolalloc", 2))

    def word(value, less, more):
        return f"{abs(value - 1) * 100:.0f} % {less if value < 1 else more}" if value != 1 else None
    differences = [text for text in (word(time_ratio, "less processor time", "more processor time"),
                                     word(memory_ratio, "less memory", "more memory")) if text]
    if not differences:
        return "advice: no difference that counts; nothing is gained, and nothing lost"
    text = " and ".join(differences)
    if time_ratio <= 1.03 and memory_ratio <= 1.03:
        return f"advice: use it: {text}"
    if time_ratio >= 0.97 and memory_ratio >= 0.97:
        return f"advice: do not use it here: {text}"
    return f"advice: {text}: it depends on which of the two you have"


def compare(arguments, rounds, with_peers):
    path = find_program(arguments[0])
    allocators = {"glibc": None, "poolalloc": library(), **(installed_peers() if with_peers else {})}
    samples = {name: [] for name in allocators}
    order = list(allocators)
    for turn in range(rounds):
        first = turn % len(order)
        for name in order[first:] + order[:first]:
            if sys.stderr.isatty():
                print(f"\rround {turn + 1} of {rounds}: {name}        ", end="", file=sys.stderr, flush=True)
            *figures, status = run_once(path, arguments, allocators[name])
            if status != 0 and name == "glibc" and turn == 0:
                print(f"poolalloc: {arguments[0]} ends with {os.waitstatus_to_exitcode(status)} under glibc's allocator",
                      file=sys.stderr)
            samples[name].append((*figures, status))
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    rows = []
    for name in order:
        medians = [statistics.median(sample[i] for sample in samples[name]) for i in range(3)]
        failed = sum(sample[3] != base[3] for sample, base in zip(samples[name], samples["glibc"]))
        rows.append([time_text(medians[0]), time_text(medians[1]), size_text(medians[2]),
                     *([ratio_text(ratio(samples, name, i)) for i in range(3)] if name != "glibc" else ["1", "1", "1"]),
                     name + (f" (ended otherwise in {failed} runs)" if failed else "")])
    print(f"{' '.join(arguments)}: medians of {rounds} interleaved rounds; ratios to glibc, with their least and most")
    print("\n".join(table_lines(["time", "processor", "peak memory", "time", "processor", "peak memory", "allocator"],
                                rows)))
    print(advice(samples))
    return 0
