"""The stress programs under the build with chaos (lib/base/chaos.h): threads lose their processor at any atomic
operation, and eviction, sweeps, reaping and hole walks happen all the time.

Always holds: what the programs do must have led to every event that the build counts, so that the test cannot pass by
doing nothing. POOLALLOC_CHAOS_SECONDS says how long the slow test takes.
"""
import collections
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POOLALLOC_CHAOS_BUILD", ROOT / "build/chaos"))
# Program and arguments, and how eagerly memory is given back.
RUNS = [("sleepers", [], "on"), ("sleepers", [], "eager"), ("stress", ["--fork"], "on"), ("stress", ["--fork"], "eager")]
# These need a thread that stops between two certain instructions.
RARE = {"seized_found", "late_trap"}


def start(seconds, seed, program, arguments, purge):
    environment = {**os.environ, "LD_PRELOAD": str(BUILD / "libpoolalloc.so"), "POOLALLOC_STATS": "1",
                   "POOLALLOC_PURGE": purge}
    return subprocess.Popen([BUILD / "tests" / program, str(seconds), "6", str(seed), *arguments], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_all(seconds, seed):
    """Runs the programs beside each other; how often each event happened."""
    events = collections.Counter()
    processes = [start(seconds, seed + i, *run) for i, run in enumerate(RUNS)]
    try:
        for process in processes:
            out, errors = process.communicate(timeout=seconds * 3 + 60)
            assert process.returncode == 0, out + errors
            events.update({name: int(count) for name, count in re.findall(r"chaos: (\w+) (\d+)", errors)})
    finally:
        for process in processes:
            process.kill()
    print(dict(events))
    return events


def test_everything_happens_and_nothing_breaks():
    events = run_all(15, 1)
    assert len(events) > len(RARE)
    assert not [name for name, count in events.items() if count == 0 and name not in RARE]


@pytest.mark.slow
def test_everything_happens_and_nothing_breaks_for_long():
    # COMPAT 77
    seconds = float(os.environ.get("POOLALLOC_CHAOS_SECONDS", 600))
    each = min(60.0, seconds)
    events = collections.Counter()
    for part in range(round(seconds / each)):
        events.update(run_all(each, 100 + part * len(RUNS)))
    assert not [name for name, count in events.items() if count == 0]
