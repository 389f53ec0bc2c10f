"""Little address space, locked memory, forbidden system calls (COMPAT 52-58).

What always holds: a request is met or refused with ENOMEM; no signal, no endless loop, no lost bytes.
"""
import resource
import signal

import pytest

MIB = 1 << 20
STRICT = {"POOLALLOC_FOREIGN": "abort"}
NOBODY = 65534


@pytest.mark.parametrize("command", [["bash", "-c", "for i in 1 2 3; do x=$(echo $i); done"],
                                     ["/usr/bin/python3", "-c", "pass"], ["ls", "/"]], ids=lambda c: c[0])
@pytest.mark.parametrize("limit", [500, 200, 64, 32, 16])
def test_small_address_space(run, command, limit):
    # COMPAT 52: runs, or says that there is no memory; and runs wherever glibc's malloc does with 64 MB to spare
    limits = {resource.RLIMIT_AS: limit * 1000 * 1000}
    result = run(command, limits=limits, timeout=20)
    # Python aborts by itself when there is no memory for its start.
    assert result.rc >= 0 or (result.rc == -signal.SIGABRT and "Fatal Python error" in result.err), result
    if result.rc != 0:
        assert any(word in result.err.lower() for word in ("memory", "alloc", "map", "fatal python error")), result
    if limit >= 128 and run(command, preload=False, limits={resource.RLIMIT_AS: (limit - 64) * 1000 * 1000}).rc == 0:
        assert result.rc == 0, result


@pytest.mark.parametrize("alignment, size", [(8 << 20, 69275), (1 << 20, 5000), (64 << 20, 300000), (128 << 10, 40000)])
def test_what_alignment_leaves_free_counts_for_no_limit(run, build, either, alignment, size):
    # 100 blocks, of a MiB at the most each, have room in 120 MiB
    run([build("aligned_limit.c"), 100, alignment, size], **either, env={"POOLALLOC_LIMIT": ":120M"}).ok()


def test_exhaustion_and_recovery(laws):
    # COMPAT 54
    laws("exhaust.cc", limits={resource.RLIMIT_AS: 1024 * MIB}, env=STRICT, timeout=60)


@pytest.mark.parametrize("size", [0, 16, 200, 1000])
def test_memory_that_counts_where_nothing_is_overcommitted(run, build, size):
    # COMPAT 53: address space that is not handed out does not count, and after a peak no more does than at it
    program = build("charged.c")
    _, at_rest, _ = map(int, run([program, 0], preload=False).ok().out.split())
    asked, full, after = map(int, run([program, size], env=STRICT).ok().out.split())
    assert full - at_rest <= asked * 1.4 + 24 and after <= full, (at_rest, asked, full, after)


@pytest.mark.parametrize("limit", [64 * 1024, 1 * MIB, 4 * MIB, 8 * MIB])
def test_little_locked_memory(run, build, linked, limit):
    # COMPAT 57: as a user without the privilege to lock more
    program = build("locked.c", *linked)
    run([program, "may-fail"], preload=False, limits={resource.RLIMIT_MEMLOCK: limit}, user=NOBODY, env=STRICT).ok()


def test_much_locked_memory(run, build):
    # COMPAT 57: as one who may lock everything
    program = build("locked.c")
    if "mlockall" in run([program, "must-fit"], preload=False).out:
        pytest.skip("no privilege to lock memory here")
    run([program, "must-fit"], env=STRICT).ok()


@pytest.mark.parametrize("error", [1, 38], ids=["EPERM", "ENOSYS"])
@pytest.mark.parametrize("call", ["prctl", "madvise", "mbind", "getrandom", "mremap", "membarrier", "rseq", "getcpu",
                                  "get_mempolicy", "sched_getaffinity", "clock_gettime"])
def test_refused_system_call(run, build, lib, call, error):
    # COMPAT 58
    launcher, program, realloc = build("with_filter.c"), build("churn.c"), build("realloc_matrix.c")
    env = {**STRICT, "COMPAT_LIB": str(lib)}
    result = run([launcher, error, call, program, 4, 3000], preload=False, env=env).ok()
    assert result.out == "4 threads made 12000 blocks\n"
    if call == "mremap":
        run([launcher, error, call, realloc, "classes"], preload=False, env=env).ok()


@pytest.mark.parametrize("error", [1, 38], ids=["EPERM", "ENOSYS"])
def test_without_madvise_mappings_are_few(run, build, lib, error):
    # COMPAT 58, 84: such memory is not taken for locked memory, of which no more is mapped than is asked for
    launcher, program = build("with_filter.c"), build("large_blocks.c")
    result = run([launcher, error, "madvise", program, "plain", 100000, 3000, 0, 100], preload=False,
                 env={**STRICT, "COMPAT_LIB": str(lib)}).ok()
    assert int(result.out.split()[3]) < 200, result


@pytest.mark.parametrize("define", ["-DWARM_UP", "-DNO_WARM_UP"])
def test_strict_filter(laws, define):
    # COMPAT 58: after start-up only mmap, munmap, mprotect, madvise, mremap and futex
    laws("strict_filter.c", flags=(define,), env=STRICT)


@pytest.mark.parametrize("left, size", [(8, 100), (8, 3000), (8, 100000), (5, 100), (20, 30000)])
def test_little_address_space_left(laws, left, size):
    # COMPAT 85
    laws("space_left.c", left, size, env=STRICT)


@pytest.mark.parametrize("blocks", [1, 7, 200])
@pytest.mark.parametrize("kind", ["TRIM", "NO_TRIM"])
def test_freed_address_space_is_there_for_others(run, build, kind, blocks):
    # COMPAT 54: also for what the program maps itself
    program = build("freed_space.c", f"-D{kind}")
    limits = {resource.RLIMIT_AS: 560 * MIB}
    run([program, 320, blocks], preload=False, limits=limits).ok()
    run([program, 320, blocks], limits=limits, env=STRICT).ok()
