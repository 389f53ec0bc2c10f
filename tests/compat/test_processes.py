"""fork, exec, signals and privileges (COMPAT 23-31, 95).

What always holds: after a fork both sides have a whole heap, whatever other threads were doing; nothing hangs.
"""
import shutil
import signal
import subprocess

import pytest

STRICT = {"POOLALLOC_FOREIGN": "abort"}


@pytest.mark.parametrize("forks", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_fork_under_load(laws, forks):
    # COMPAT 23: all children exit 0 within a minute
    laws("fork_storm.c", forks, env=STRICT, timeout=60)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("define", ["-DPLAIN", "-DWITH_LOCK"])
def test_fork_handlers_that_allocate(run, build, shared, where, define):
    # COMPAT 24
    library = shared("atfork_lib.c", define)
    run([build("atfork.c"), 60], **{where: [library]}, env=STRICT, timeout=40).ok()


@pytest.mark.parametrize("define", ["-DPLAIN", "-DWITH_LOCK"])
def test_fork_handlers_of_a_linked_library(run, build, shared, linked, define):
    # COMPAT 24: constructed before and after the allocator by link order
    library = shared("atfork_lib.c", define)
    own = [f"-Wl,-rpath,{library.parent}", f"-L{library.parent}", f"-l:{library.name}"]
    for flags in ([*own, *linked], [*linked, *own]):
        run([build("atfork.c", "-Wl,--no-as-needed", *flags), 40], preload=False, env=STRICT, timeout=40).ok()


@pytest.mark.parametrize(
    "forks, threads, interrupted", [(300, 0, "one"), (300, 0, "alone"), (300, 4, "one"), (300, 4, "all"), (6, 4, "locked")]
)
def test_fork_in_a_signal_handler(laws, forks, threads, interrupted):
    # COMPAT 25
    laws("fork_in_handler.c", forks, threads, interrupted, env=STRICT, timeout=90)


PARTS_OF_LIBC = [("flush", 4), ("getline", 150), ("fopen", 150), ("locale", 150), ("users", 150), ("addresses", 150),
                 ("dlopen", 150), ("atfork", 150)]


@pytest.mark.parametrize("part, forks", PARTS_OF_LIBC)
def test_fork_beside_locks_of_libc(laws, part, forks):
    # COMPAT 78
    laws("fork_beside_libc.c", forks, part, env=STRICT, timeout=60)


@pytest.mark.parametrize("what", ["trim", "fork", "threads"])
def test_threads_stopped_by_signals(laws, what):
    # COMPAT 79: as collectors stop them
    laws("stop_the_world.c", 1500, what, env=STRICT, timeout=90)


@pytest.mark.parametrize("what", ["ended", "asleep"])
def test_fork_copies_few_pages_of_many_heaps(run, build, what):
    # COMPAT 28, 92: a page for 32 heaps, and not one or more for each; libc itself copies one for each thread that waits
    program, threads = build("fork_pages.c"), 1000
    stock = [int(n) for n in run([program, threads, what], preload=False).ok().out.split()[:2]]
    pages = [int(n) for n in run([program, threads, what], env=STRICT).ok().out.split()[:2]]
    assert all(ours < libc + 120 for ours, libc in zip(pages, stock)), f"parent, child: {pages}, under libc {stock}"


def test_spawning_under_load(laws):
    # COMPAT 26
    laws("spawn.c", 6, env=STRICT, timeout=60)


@pytest.mark.parametrize("threads", ["alive", "ended"])
def test_deep_forks(run, build, threads):
    # COMPAT 27: no level has more than 96 MiB, as the program itself judges; without what the retention policy keeps, which
    # is for a program that takes as much all the time, the tenth level has hardly more than the first
    program = build("fork_deep.c")
    run([program, 10, threads], env=STRICT, timeout=60).ok()
    result = run([program, 10, threads], env={**STRICT, "POOLALLOC_PURGE": "eager"}, timeout=60)
    first, last = map(int, result.ok().out.split())
    assert last < first + 32 * 1024, (first, last)


@pytest.mark.parametrize("times, seconds", [(20_000, 4), pytest.param(1_000_000, 200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("threads", [1, 4])
def test_malloc_in_a_signal_handler_does_not_hang(run, build, threads, times, seconds):
    # COMPAT 29: that it ends, soon; a crash would be the program's own fault, and where a lock is waited for it is told so
    result = run([build("malloc_in_handler.c"), times, threads, seconds], timeout=seconds + 20)
    if result.rc == 0:
        assert int(result.out) > min(times - 1, 1000), result
    else:
        assert result.rc in (-signal.SIGSEGV, -signal.SIGABRT), result
        assert result.rc == -signal.SIGSEGV or "poolalloc: " in result.err, result


@pytest.mark.parametrize("mib", [256, pytest.param(1024, marks=pytest.mark.slow)])
def test_a_snapshot_copies_little(run, build, mib):
    # COMPAT 28: of up to 1 GiB in blocks of 0.5 to 6.5 KiB, parts in ten thousand
    idle, freed, replaced = map(int, run([build("fork_live.c"), mib], env=STRICT, timeout=100).ok().out.split())
    assert idle <= 20 and freed < 500 and replaced < 500, (idle, freed, replaced)


def test_user_namespace(run, build):
    # COMPAT 30
    program = build("unshare.c")
    if run([program], preload=False).rc == 77:
        pytest.skip("this system forbids user namespaces")
    run([program]).ok()


@pytest.mark.parametrize("how", ["setuid", "capability"])
def test_secure_execution_ignores_options(run, build, linked, workdir, how):
    # COMPAT 31
    program = workdir / f"secure-{how}"
    shutil.copy(build("secure_exec.c", *linked), program)
    files = workdir / f"files-of-{how}"
    files.mkdir(mode=0o777)
    files.chmod(0o777)
    env = {"POOLALLOC_FOREIGN": "abort", "POOLALLOC_VERBOSE": "1", "POOLALLOC_MISUSE": "ignore", "POOLALLOC_LIMIT": ":1M",
           "POOLALLOC_STATS": f"json:{files}/stats", "POOLALLOC_PROFILE": f"1:{files}/profile"}
    if how == "setuid":
        program.chmod(0o4755)
    elif subprocess.run(["setcap", "cap_net_raw+ep", program]).returncode != 0:
        pytest.skip("no file capabilities here")
    else:
        program.chmod(0o755)
    result = run([program], preload=False, env=env, user=65534)
    if "AT_SECURE" in result.out:
        pytest.skip("the folder does not allow privileged programs")
    assert result.rc == 0 and result.out == "lived on\n", result
    lines = result.err.splitlines()
    assert len(lines) <= 1 and all("invalid pointer" in line for line in lines), result
    assert not list(files.iterdir()), "a file was written"


@pytest.fixture
def cloned(run, build):
    """How many children of a raw clone hung, and how many ended badly."""
    def call(*arguments, preload=True):
        result = run([build("raw_clone.c"), *arguments], preload=preload, env=STRICT, timeout=5 * arguments[0] + 60)
        return tuple(map(int, result.ok().out.split()))
    return call


@pytest.mark.parametrize("children, threads, smallest, largest", [
    (150, 4, 0, 500), (60, 4, 0, 60000), (20, 4, 0, 300000), (40, 1, 70000, 90000), (20, 4, 70000, 800000)])
def test_children_of_a_raw_clone_are_whole(cloned, children, threads, smallest, largest):
    # COMPAT 95: none hangs or ends badly, and the parent notices nothing, as under glibc
    arguments = children, threads, smallest, largest
    assert cloned(*arguments, preload=False) == (0, 0)
    assert cloned(*arguments) == (0, 0)


def test_what_a_forked_child_does_wrong_is_said_to_the_end(run, build):
    # Also with whose functions: where ld.so's lock may be taken for ever, by frame pointers.
    result = run([build("misuse_in_child.c", "-fno-omit-frame-pointer")])
    lines = result.err.splitlines()
    assert result.rc == 0 and "free already" in lines[0] and "POOLALLOC_MISUSE=warn" in lines[-1], result
    assert len(lines) > 2 and all(line.startswith("poolalloc:   #") for line in lines[1:-1]), result
