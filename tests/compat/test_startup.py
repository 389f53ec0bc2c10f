"""Start-up, the loader, and the end of a program (COMPAT 1-12, 60).

What always holds: a program that starts and ends under the library behaves as it does without it, and is silent.
"""
import os
import re
import subprocess

import pytest

MIB = 1 << 20


@pytest.mark.parametrize("command", [["true"], ["ls", "-la", "/etc"], ["bash", "-c", ":"], ["sort", "/etc/services"],
                                     ["/usr/bin/python3", "-c", "print(sum(range(1000)))"]], ids=lambda c: c[0])
def test_ordinary_programs(run, command):
    # COMPAT 1
    assert run(command).ok().out == run(command, preload=False).ok().out


@pytest.mark.parametrize("kind", ["-pie", "-no-pie", "-static", "-static-pie"])
def test_footprint(run, build, kind):
    # COMPAT 1: < 100 MiB of address space above glibc's, and no extra thread
    flags = ["-fPIE", kind] if kind.endswith("pie") and kind != "-no-pie" else ["-fno-pie", kind]
    program = build("footprint.c", *flags)
    with_lib, without = (tuple(map(int, run([program], preload=preload).ok().out.split())) for preload in (True, False))
    assert with_lib[1] == without[1] == 1, "extra threads"
    assert with_lib[0] - without[0] < 100 * 1024, (with_lib, without)


def test_resident_memory_of_a_process_that_does_nothing(run, build):
    """What the library answers for: memory of the process alone, and the pages of the library's file. How much of libc is
    mapped besides depends on what of it is in the page cache: the kernel maps 64 KiB around each page that is touched."""
    program = build("idle.c")
    (private, file), (private_without, _) = (map(int, run([program], preload=preload).ok().out.split())
                                             for preload in (True, False))
    assert 0 < file <= 216 and private - private_without <= 32, (private, private_without, file)


def test_memory_charged_to_a_process_that_does_little(run):
    """Address space, and what of it counts against the system's limit of memory that may be used."""
    size, charged = {}, {}
    for preload in (True, False):
        areas = re.split(r"\n(?=[0-9a-f]+-)", run(["cat", "/proc/self/smaps"], preload=preload).ok().out)
        sizes = [(int(re.search(r"\nSize: +(\d+)", area)[1]), area) for area in areas]
        size[preload] = sum(kib for kib, _ in sizes)
        charged[preload] = sum(kib for kib, area in sizes if " ac" in area.split("VmFlags:")[1])
    assert charged[True] < 4096, charged
    assert size[True] - size[False] < 4096, size


def test_programs_start_with_default_signals(run):
    assert int(re.search(r"SigIgn:\s+([0-9a-f]+)", run(["cat", "/proc/self/status"]).ok().out)[1], 16) & 0b110 == 0


def test_footprint_of_a_shell(run):
    # COMPAT 1
    command = ["bash", "-c", "grep -E 'VmSize|Threads' /proc/$$/status; :"]
    with_lib, without = ([int(n) for n in re.findall(r"\d+", run(command, preload=p).ok().out)] for p in (True, False))
    assert with_lib[1] == 1
    assert with_lib[0] - without[0] < 100 * 1024, (with_lib, without)


@pytest.mark.parametrize("order", ["linked before", "linked after", "preloaded before", "preloaded after"])
def test_constructor_before_ours(run, build, shared, linked, order):
    # COMPAT 2, and 10: its destructor runs after the allocator's own in one of the two orders
    early = shared("early_lib.c")
    early_flags = [f"-Wl,-rpath,{early.parent}", f"-L{early.parent}", f"-l:{early.name}"]
    if order.startswith("linked"):
        flags = [*early_flags, *linked] if order.endswith("before") else [*linked, *early_flags]
        result = run([build("early_main.c", "-Wl,--no-as-needed", *flags)], preload=False).ok()
    else:
        result = run([build("early_main.c")], **{order.split()[1]: [early]}).ok()
    assert result.out == "library destructor\n"


@pytest.mark.parametrize("flags", [("-no-pie", "-fno-pie"), ("-pie", "-fPIE"), ("-pie", "-fPIE", "-Wl,-z,now"),
                                   ("-pie", "-fPIE", "-Wl,-z,lazy"), ("-no-pie", "-fno-pie", "-Wl,-z,now")], ids=" ".join)
def test_indirect_functions(laws, flags):
    # COMPAT 3
    laws("ifunc.c", flags=flags)


@pytest.mark.xfail(strict=False, reason="thread-local storage gets its first values only after relocation")
def test_indirect_function_whose_resolver_allocates(laws):
    # COMPAT 3: more than the case asks for
    laws("ifunc.c", flags=("-DRESOLVER_MALLOC",))


@pytest.mark.parametrize("kind", ["-static", "-static-pie"])
def test_indirect_functions_static(run, build, static_lib, kind):
    # COMPAT 3
    run([build("ifunc.c", "-DNO_CALLS", *(["-fPIE"] if kind == "-static-pie" else []), kind,
               f"-L{static_lib.parent}", f"-l:{static_lib.name}")], preload=False).ok()


@pytest.mark.parametrize("order", ["hook-first", "hook-last"])
@pytest.mark.parametrize("define", ["-DALL", "-DMALLOC_ONLY"])
def test_second_interposer(run, build, shared, order, define):
    # COMPAT 4
    hook = shared("hook_malloc.c", define)
    where = {"before" if order == "hook-first" else "after": [hook]}
    run([build("hook_user.c"), order], **where).ok()


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("define", ["-DPLAIN", "-DFAIL_FIRST"])
def test_interposed_system_calls(run, build, shared, where, define):
    # COMPAT 5
    hook = shared("hook_os.c", define)
    result = run([build("churn.c"), 4, 5000], **{where: [hook]}).ok()
    assert result.out == "4 threads made 20000 blocks\n"
    assert run(["ls", "/etc"], **{where: [hook]}).ok().out == run(["ls", "/etc"], preload=False).out


@pytest.mark.parametrize("with_ours", [False, True], ids=["alone", "linked with ours"])
def test_audit_library(run, build, shared, linked, workdir, with_ours):
    # COMPAT 6. A second copy of ours in the auditor's namespace is tested with one thread: two C libraries in one process
    # share a thread's slots of pthread keys, so what runs at a thread's end is not defined there.
    audit = shared("audit.c", "-Wno-nonnull", *(["-Wl,--no-as-needed", *linked] if with_ours else []))
    said = workdir / "audit.txt"
    script = 'LD_AUDIT="$1" exec "$2" 4 5000 3>"$3"'
    program = build("footprint.c" if with_ours else "churn.c")
    result = run(["bash", "-c", script, "bash", audit, program, said]).ok()
    assert with_ours or result.out == "4 threads made 20000 blocks\n"
    assert {"la_version", "la_objopen"} <= set(said.read_text().split())


@pytest.mark.parametrize("link", ["-Wl,-z,lazy", "-Wl,-z,now"])
@pytest.mark.parametrize("env", [{}, {"LD_BIND_NOW": "1"}, {"LD_DEBUG": "all"}], ids=str)
def test_binding(run, build, tmp_path, link, env):
    # COMPAT 7
    if "LD_DEBUG" in env:
        env = {**env, "LD_DEBUG_OUTPUT": str(tmp_path / "debug")}
    result = run([build("churn.c", link), 3, 5000], env=env).ok()
    assert result.out == "3 threads made 15000 blocks\n"
    assert not env.get("LD_DEBUG") or any(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("verbose", ["0", "1"])
def test_environment_changes(run, build, shared, where, verbose):
    # COMPAT 8
    early = shared("env_lib.c")
    result = run([build("env_main.c")], env={"POOLALLOC_VERBOSE": verbose}, **{where: [early]})
    assert result.rc == 0 and result.out == "", result
    lines = result.err.splitlines()
    assert all(line.startswith("poolalloc: ") for line in lines) and len(lines) <= 1 + int(verbose), result


@pytest.mark.parametrize("how", ["null", "empty", "odd"])
@pytest.mark.parametrize("define", ["-DKEEP_ENVIRON", "-DNO_ENVIRON"])
def test_no_arguments_no_environment(run, build, linked, how, define):
    # COMPAT 9
    target = build("bare.c", define, *linked)
    result = run([build("exec_bare.c", "-Wno-nonnull"), target, how], preload=False)
    assert result.rc == 0 and result.out == "ran\n", result
    assert all(line.startswith("poolalloc: ") for line in result.err.splitlines()), result
    if how != "odd":
        assert result.err == "", result


@pytest.mark.parametrize("how", ["preloaded", "linked"])
def test_exit_order(run, build, linked, how):
    # COMPAT 10
    program = build("exit_order.cc", *(linked if how == "linked" else []))
    result = run([program], preload=how == "preloaded").ok()
    assert result.out.splitlines() == ["thread_local destructor", "handler", "handler of the handler",
                                       "static destructor", "elf destructor"]


@pytest.mark.parametrize("how", ["quick_exit", "_exit", "abort", "exit", "exit-thread", "quick_exit-thread", "return"])
def test_exit_while_others_allocate(run, build, how):
    # COMPAT 11
    program = build("exit_how.c")
    for _ in range(10):
        result = run([program, how], timeout=5)
        assert result.rc == (-6 if how == "abort" else 7) and result.out == "" and result.err == "", result


@pytest.mark.parametrize("env", [{}, {"POOLALLOC_VERBOSE": "1"}, {"POOLALLOC_VERBOSE": "nonsense"}], ids=str)
def test_closed_descriptors(run, build, lib, tmp_path, env):
    # COMPAT 12
    own = tmp_path / "own"
    script = 'LD_PRELOAD="$1" exec "$2" "$3" 0<&- 1>&- 2>&-'
    result = run(["bash", "-c", script, "bash", lib, build("closed_fds.c"), own], preload=False, env=env).ok()
    assert own.read_text() == "mine\n", result


def test_closed_descriptors_of_ordinary_programs(run, lib):
    # COMPAT 12
    for closed in ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"):
        script = f'LD_PRELOAD="$1" POOLALLOC_VERBOSE=1 exec bash -c "true; : | :" {closed}'
        result = run(["bash", "-c", script, "bash", lib], preload=False)
        assert result.rc == 0 and result.out == "", (closed, result)


def test_verbose_line(run, build):
    # COMPAT 12: what is not to be written into a program's file is written to stderr
    result = run([build("bare.c")], env={"POOLALLOC_VERBOSE": "1"})
    assert result.rc == 0 and result.out == "ran\n"
    assert len(result.err.splitlines()) >= 1 and all(line.startswith("poolalloc: ") for line in result.err.splitlines())


@pytest.mark.parametrize("option", ["POOLALLOC_VERBOSE", "POOLALLOC_FOREIGN"])
def test_wrong_option_value(run, build, option):
    # COMPAT 12: one line, and the default is used
    result = run([build("bare.c")], env={option: "no-such-value"})
    assert result.rc == 0 and result.out == "ran\n", result
    assert len(result.err.splitlines()) == 1 and result.err.startswith("poolalloc: "), result


@pytest.mark.parametrize("wanted", ["0", "1"])
def test_restartable_sequences(run, build, wanted):
    # COMPAT 60: the library neither needs nor takes them
    env = {"GLIBC_TUNABLES": f"glibc.pthread.rseq={wanted}", "POOLALLOC_FOREIGN": "abort"}
    if run([build("rseq.c"), wanted], preload=False, env=env).rc == 77:
        pytest.skip("this libc or kernel has no restartable sequences")
    run([build("rseq.c"), wanted], env=env).ok()
    assert run([build("churn.c"), 4, 5000], env=env).ok().out == "4 threads made 20000 blocks\n"
