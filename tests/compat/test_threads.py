"""Threads that begin, end, are stopped, or have little stack (COMPAT 32-40).

What always holds: memory does not depend on how many threads there have been; blocks outlive their maker.
"""
import concurrent.futures

import pytest

STRICT = {"POOLALLOC_FOREIGN": "abort"}


@pytest.mark.parametrize("count", [10000, pytest.param(100000, marks=pytest.mark.slow)])
def test_many_threads(run, build, count):
    # COMPAT 32: memory flat, time within twice glibc's
    program = build("many_threads.c")
    seconds = {preload: min(float(run([program, count], preload=preload, env=STRICT, timeout=120).ok().out)
                            for _ in range(1 if count > 10000 else 2)) for preload in (True, False)}
    assert seconds[True] < 2 * seconds[False] + 0.2, seconds


@pytest.mark.parametrize("where, order", [("before", "younger"), ("after", "younger"), ("after", "older")])
def test_destructors_at_the_end_of_threads(run, build, shared, where, order):
    # COMPAT 33: keys older and younger than the allocator's, so that its own destructor runs last and first; thread_local
    # objects; 10 000 threads. Of the libraries that ask to be initialised first the dynamic linker takes the last one.
    library = shared("key_lib.c", *(["-Wl,-z,initfirst"] if order == "older" else []))
    run([build("thread_end.cc"), 10000, order], **{where: [library]}, env=STRICT, timeout=60).ok()


@pytest.mark.parametrize("blocks", [3_000_000, pytest.param(100_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("producers, consumers", [(1, 1), (1, 8), (8, 1)])
def test_blocks_that_are_handed_over(run, build, producers, consumers, blocks):
    # COMPAT 34: up to 256 MiB are in the queue
    result = run([build("hand_overs.c"), producers, consumers, blocks], env=STRICT, timeout=60 + blocks / 100_000)
    live, resident = map(int, result.ok().out.split())
    assert live > 250 * 1024 and resident < 2 * live, result


def test_threads_that_sleep_with_nothing(run, build):
    # COMPAT 36: of 1000 threads that have had a MiB each nothing is left, but for what is always kept until it is trimmed
    before, full, asleep, trimmed = map(int, run([build("idle_threads.c"), 1000], env=STRICT).ok().out.split())
    assert full > 800 * 1024 and trimmed <= before * 1.1 + 16 * 1024, (before, full, trimmed)
    assert asleep <= before * 1.1 + 32 * 1024, (before, full, asleep)


def test_threads_that_only_free(laws):
    # COMPAT 35
    laws("only_free.c", 5000, env=STRICT, timeout=60)


def test_owner_ends_while_others_free(laws):
    # COMPAT 37
    laws("owner_ends.c", 60, env=STRICT, timeout=60)


@pytest.mark.parametrize("how", ["cancel", "exit", "affinity", "fifo"])
def test_interrupted_threads(run, build, how):
    # COMPAT 38
    result = run([build("interrupted.c"), how], env=STRICT, timeout=20)
    if result.rc == 77:
        pytest.skip("no real-time priority here")
    result.ok()


def test_smallest_stack(run, build):
    # COMPAT 39
    result = run([build("small_stack.c")])
    assert result.rc == 0 and result.out == "", result
    assert len(result.err.splitlines()) == 1 and "invalid pointer" in result.err, result


def test_smallest_stack_first_call(run, build):
    # COMPAT 39: reporting goes through the same stack when everything is to be reported
    result = run([build("small_stack.c")], env={"POOLALLOC_VERBOSE": "1"})
    assert result.rc == 0 and result.out == "", result


def test_fibres_that_change_threads(laws):
    # COMPAT 40
    laws("fibres.c", env=STRICT)


@pytest.mark.parametrize("keys", [0, 31, 32, 40, 1023, 1024])
@pytest.mark.parametrize("first", ["malloc", "setspecific"])
def test_threads_of_a_program_with_many_keys(laws, keys, first):
    # COMPAT 89
    laws("many_keys.c", keys, first, env=STRICT)


def test_pools_of_ended_threads(laws):
    # COMPAT 94
    laws("ended_pools.c", env=STRICT, timeout=30)


def test_memory_of_a_program_that_falls_asleep(build, run):
    # what it keeps goes back if a thread for that was asked for; there is none before much is free, nor afterwards
    program = build("asleep.c")

    def law_holds(wanted):
        run([program, wanted], env={**STRICT, "POOLALLOC_PURGE_THREAD": wanted}, timeout=60).ok()
    with concurrent.futures.ThreadPoolExecutor() as both:
        list(both.map(law_holds, ["0", "1"]))
