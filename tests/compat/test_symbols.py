"""The names the library defines, and programs in which several allocators or several ways of linking meet (COMPAT 13-22).

What always holds: every name of the malloc family and every C++ operator is ours, nothing else is; a pointer that is not
the start of one of our blocks is met by POOLALLOC_MISUSE's policy, or by POOLALLOC_FOREIGN's if another allocator may own
it, and harms nothing.
"""
import pathlib
import re
import shutil
import subprocess

import pytest

C_NAMES = set("""
malloc calloc realloc free cfree memalign aligned_alloc posix_memalign valloc pvalloc malloc_usable_size malloc_trim
mallinfo mallinfo2 malloc_info malloc_stats mallopt free_sized free_aligned_sized dlopen
""".split())

OPERATORS = {f"_Zn{kind}m{rest}" for kind in "wa" for rest in
             ("", "RKSt9nothrow_t", "St11align_val_t", "St11align_val_tRKSt9nothrow_t")} | \
            {f"_Zd{kind}Pv{rest}" for kind in "la" for rest in
             ("", "m", "RKSt9nothrow_t", "St11align_val_t", "mSt11align_val_t", "St11align_val_tRKSt9nothrow_t")}

ALLOWED = re.compile(r"""(reallocarray | malloc_get_state | malloc_set_state | __posix_memalign | poolalloc_\w+
                         | _exit | _Exit
                         | __libc_(malloc|calloc|realloc|free|cfree|memalign|valloc|pvalloc|posix_memalign|mallinfo
                                   |mallopt|reallocarray|freeres|aligned_alloc))""", re.X)


def exported(lib):
    lines = subprocess.run(["nm", "-D", "--defined-only", lib], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {fields[2].split("@")[0]: fields[1] for fields in map(str.split, lines.splitlines()) if len(fields) == 3}


def test_exported_names(lib):
    # COMPAT 13
    names = exported(lib)
    wanted = C_NAMES | OPERATORS
    assert not wanted - names.keys(), "not defined"
    assert len(OPERATORS) == 20
    assert {name for name in wanted if names[name] not in "TWi"} == set(), "not functions"
    unintended = {name for name in names.keys() - wanted if not ALLOWED.fullmatch(name) and names[name] != "A"}
    assert not unintended, "exported without intention"


def test_operators(laws):
    # COMPAT 13
    laws("operators.cc")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_blocks_of_the_c_library(laws, locale):
    # COMPAT 14
    laws("libc_blocks.c", env={"POOLALLOC_FOREIGN": "abort", "LC_ALL": locale})


def test_internal_names(laws):
    # COMPAT 15: a block by __libc_malloc is ours
    laws("libc_names.c", env={"POOLALLOC_FOREIGN": "abort"})


FOREIGN = ["mmap", "sbrk", "dlmopen", "dlmopen-large"]
INSIDE = ["inside-64+8", "inside-64+16", "inside-100+48", "inside-500+16", "inside-1024+512", "inside-5000+16",
          "inside-50000+16", "inside-70000+65536", "inside-300000+16", "inside-300000+65536", "inside-3000000+8",
          "inside-6000000+16", "inside-20000000+4194304", "inside-20000000+65536"]
CERTAIN = {"stack": "is no block: it is on this thread's stack",
           "bss": "is no block: it belongs to the program's code and variables",
           **dict.fromkeys(INSIDE, r"is inside a block of \d+ bytes, which begins at 0x[0-9a-f]+")}
# What program foreign does, and how often it does what is accused: each is told of under warn, if it is certain.
OPERATIONS = {"free": {"free()": 3}, "realloc": {"realloc()": 6}, "usable": {}, "all": {"free()": 3, "realloc()": 6}}
NAMES = {"free": "free()", "realloc": "realloc()", "usable": "malloc_usable_size()", "all": "malloc_usable_size()"}


def is_foreign(line, function):
    return re.fullmatch(rf"poolalloc: {re.escape(function)}: invalid pointer 0x[0-9a-f]+: "
                        r"not the start of a block of this allocator", line)


def is_certain(line, function, kind):
    return re.fullmatch(rf"poolalloc: {re.escape(function)}: 0x[0-9a-f]+ {CERTAIN[kind]}", line)


def is_trace(lines, option):
    """What follows the message when the program ends: who called, and how to go on."""
    return (1 <= len(lines) - 1 <= 16 and lines[-1] == f"poolalloc: to go on after this, set {option}=warn" and
            all(re.fullmatch(rf"poolalloc:   #{i} /\S+\+0x[0-9a-f]+", line) for i, line in enumerate(lines[:-1])))


@pytest.mark.parametrize("policy", ["ignore", "warn", None])
@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_pointers_survived(run, build, kind, policy):
    # COMPAT 15
    program = build("foreign.c")
    for operation in OPERATIONS:
        env = {"POOLALLOC_MISUSE": "abort", **({"POOLALLOC_FOREIGN": policy} if policy else {})}
        result = run([program, kind, operation], env=env)
        assert result.rc == 0 and result.out == "", result
        lines = result.err.splitlines()
        if policy == "ignore":
            assert not lines, result
        else:
            assert len(lines) == 1 and is_foreign(lines[0], NAMES[operation]), result


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_pointers_abort(run, build, kind):
    # COMPAT 15
    program = build("foreign.c")
    env = {"POOLALLOC_FOREIGN": "abort", "POOLALLOC_MISUSE": "ignore"}
    for operation in ("free", "realloc", "usable"):
        result = run([program, kind, operation], env=env)
        lines = result.err.splitlines()
        assert result.rc == -6 and result.out == "", result
        assert is_foreign(lines[0], NAMES[operation]) and is_trace(lines[1:], "POOLALLOC_FOREIGN"), result
    run([program, kind, "none"], env=env).ok()


@pytest.mark.parametrize("policy", ["ignore", "warn"])
@pytest.mark.parametrize("kind", CERTAIN)
def test_what_is_no_block_survived(run, build, kind, policy):
    # COMPAT 15
    program = build("foreign.c")
    for operation, times in OPERATIONS.items():
        # To be asked for its size is no misuse: that is for the other option.
        for foreign in ("ignore", "warn"):
            result = run([program, kind, operation], env={"POOLALLOC_MISUSE": policy, "POOLALLOC_FOREIGN": foreign})
            assert result.rc == 0 and result.out == "", result
            lines = result.err.splitlines()
            asked = [line for line in lines if is_foreign(line, "malloc_usable_size()")]
            assert len(asked) == (foreign == "warn" and operation in ("usable", "all")), result
            accused = {name: sum(1 for line in lines if is_certain(line, name, kind)) for name in times}
            assert accused == (times if policy == "warn" else dict.fromkeys(times, 0)), result
            assert len(lines) == len(asked) + sum(accused.values()), result


@pytest.mark.parametrize("env", [{}, {"POOLALLOC_MISUSE": "abort", "POOLALLOC_FOREIGN": "ignore"}],
                         ids=["by default", "abort"])
@pytest.mark.parametrize("kind", CERTAIN)
def test_what_is_no_block_aborts(run, build, kind, env):
    # COMPAT 15
    program = build("foreign.c")
    for operation in ("free", "realloc"):
        result = run([program, kind, operation], env=env)
        lines = result.err.splitlines()
        assert result.rc == -6 and result.out == "", result
        assert is_certain(lines[0], NAMES[operation], kind) and is_trace(lines[1:], "POOLALLOC_MISUSE"), result
    run([program, kind, "none"], env=env).ok()
    result = run([program, kind, "usable"], env={"POOLALLOC_FOREIGN": "abort", "POOLALLOC_MISUSE": "ignore"})
    lines = result.err.splitlines()
    assert result.rc == -6 and is_foreign(lines[0], NAMES["usable"]) and is_trace(lines[1:], "POOLALLOC_FOREIGN"), result


@pytest.mark.parametrize("define", ["-DTWO_NAMES", "-DEVERYTHING"])
def test_program_with_its_own_allocator(run, build, define):
    # COMPAT 16: it runs
    result = run([build("own_malloc.c", define)])
    assert result.rc == 0 and result.out == "", result
    assert all(line.startswith("poolalloc: ") for line in result.err.splitlines()), result


@pytest.mark.parametrize("define", ["-DTWO_NAMES", "-DEVERYTHING"])
def test_program_with_its_own_allocator_is_told(run, build, define):
    # COMPAT 16: with the start line on, it says that malloc is not ours
    result = run([build("own_malloc.c", define)], env={"POOLALLOC_VERBOSE": "1"})
    assert result.rc == 0 and result.out == "", result
    lines = result.err.splitlines()
    assert all(line.startswith("poolalloc: ") for line in lines), result
    assert any("malloc" in line.removeprefix("poolalloc: ") for line in lines), "nothing said of the other malloc"


def test_programs_like_browsers(run, build, shared):
    # COMPAT 69, 98: all blocks are the program's, also of the operators that it has not replaced in all their forms;
    # who asks is told so in one line
    program = [build("browser.cc", "-rdynamic", "-Wno-attributes"), shared("leaver_lib.cc")]
    run(program, preload=False).ok()
    run(program, env={"POOLALLOC_FOREIGN": "abort"}).ok()
    result = run(program, env={"POOLALLOC_VERBOSE": "1"})
    # Each child that is forked is silent, too.
    said = [line for line in result.err.splitlines() if "malloc is not this library's" in line]
    assert result.rc == 0 and result.out == "" and len(said) == 1, result


@pytest.mark.parametrize("how, define, with_ours", [
    ("deepbind", "-DOWN_ONLY", False), ("deepbind", "-DMIXED", True), ("namespace", "-DMIXED", False),
    ("namespace", "-DMIXED", True),
    pytest.param("deepbind", "-DMIXED", False, marks=pytest.mark.xfail(
        strict=False, reason="the plugin's free is glibc's and gets blocks that libc made by our malloc"))])
def test_plugins_with_another_malloc(run, build, shared, linked, how, define, with_ours):
    # COMPAT 17, 18
    plugin = shared("plugin.c", define, *(["-Wl,--no-as-needed", *linked] if with_ours else []))
    run([build("plugin_user.c"), how, plugin], env={"POOLALLOC_FOREIGN": "ignore"}).ok()


def test_dynamic_tls_blocks(run, build, shared, tmp_path):
    # COMPAT 19
    copies = [shutil.copy(shared("tls_block_lib.c"), tmp_path / f"lib{i}.so") for i in range(4)]
    run([build("tls_blocks.c"), *copies], env={"POOLALLOC_FOREIGN": "abort"}, timeout=60).ok()


def static_flags(static_lib, kind):
    return [*(["-fPIE"] if kind == "-static-pie" else []), kind, f"-L{static_lib.parent}", f"-l:{static_lib.name}"]


@pytest.mark.parametrize("kind", ["-static", "-static-pie"])
@pytest.mark.parametrize("source", ["static_link.c", "libc_blocks.c", "churn.c", "exit_order.cc", "sized_delete.cc"])
def test_static_link(run, build, static_lib, kind, source):
    # COMPAT 20
    # The C library warns that getaddrinfo and dlopen need its shared form at run time; that is not looked at here.
    program = build(source, *static_flags(static_lib, kind))
    result = run([program], preload=False, env={"POOLALLOC_VERBOSE": "1"})
    assert result.rc == 0, result
    assert result.err.startswith("poolalloc: "), "the static library is not in use"


LINKS = {"after": ["{src}", "-lm", "{pool}"], "before": ["-Wl,--no-as-needed", "{pool}", "{src}", "-lm"],
         "before others": ["{src}", "{pool}", "-lm", "-lpthread"],
         "as-needed": ["{src}", "-Wl,--as-needed", "{pool}", "-lm"], "now": ["{src}", "-Wl,-z,now", "{pool}"],
         "lazy": ["{src}", "-Wl,-z,lazy", "{pool}"], "lto": ["-flto", "{src}", "{pool}"],
         "lto optimised": ["-flto", "-O2", "{src}", "{pool}"],
         "no builtin malloc": ["-fno-builtin-malloc", "{src}", "{pool}"], "no-pie": ["-no-pie", "-fno-pie", "{src}", "{pool}"],
         "static runtime": ["-static-libstdc++", "-static-libgcc", "{src}", "{pool}"]}


@pytest.mark.parametrize("link", LINKS)
def test_linked(run, lib, linked, link, tmp_path):
    # COMPAT 21
    source = pathlib.Path(__file__).parent / "src" / "bound.cc"
    words = []
    for word in LINKS[link]:
        words += linked if word == "{pool}" else [source if word == "{src}" else word]
    program = tmp_path / "bound"
    command = ["g++", "-O1", "-Wall", "-Wextra", "-pthread", *words, "-o", program]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0 and done.stdout == "", done
    run([program], preload=False, env={"COMPAT_LIB": str(lib), "POOLALLOC_FOREIGN": "abort"}).ok()


@pytest.mark.parametrize("flag", ["-fsized-deallocation", "-fno-sized-deallocation"])
def test_delete_with_wrong_size(laws, flag):
    # COMPAT 22
    laws("sized_delete.cc", flags=(flag, "-Wno-delete-non-virtual-dtor"), env={"POOLALLOC_FOREIGN": "abort"})


STRICT = {"POOLALLOC_FOREIGN": "abort"}
REPLACED = ["BASE", "ARRAY", "ALIGNED"]


@pytest.mark.parametrize("which", [[], *([name] for name in REPLACED), REPLACED[:2], REPLACED], ids="+".join)
def test_replaced_operators(laws, which):
    # COMPAT 87
    laws("replaced_operators.cc", flags=[f"-D{name}" for name in which] + ["-std=c++17", "-Wno-sized-deallocation"], env=STRICT)


@pytest.mark.parametrize("which", [["ONLY_NEW"], ["ONLY_DELETE"], ["ONLY_NEW", "ONLY_DELETE"]], ids="+".join)
def test_one_replaced_operator(laws, which):
    # COMPAT 87: new and not delete, or the other way round
    laws("one_operator.cc", flags=[f"-D{name}" for name in which] + ["-std=c++17", "-Wno-sized-deallocation"], env=STRICT)


def test_operators_go_through_a_tools_malloc(run, build, shared):
    # COMPAT 98: heap profilers
    run([build("counted_operators.cc", "-std=c++17")], before=[shared("malloc_counter.c")], env=STRICT).ok()


def test_reallocarray_of_a_program_with_its_own_realloc(laws):
    # COMPAT 88
    laws("own_realloc.c", flags=["-rdynamic"])


CXX17 = ["-std=c++17", "-Wno-sized-deallocation", "-Wno-alloc-size-larger-than"]


def test_operator_new_without_memory(laws, build, run, static_lib):
    # COMPAT 45
    laws("out_of_memory.cc", flags=CXX17, env=STRICT)
    for kind in [["-static"], [f"-L{static_lib.parent}", f"-l:{static_lib.name}"]]:
        flags = static_flags(static_lib, "-static") if kind == ["-static"] else kind
        run([build("out_of_memory.cc", *CXX17, *flags)], preload=False, env=STRICT).ok()


@pytest.mark.parametrize("runtime", [["-static-libstdc++", "-static-libgcc"], []])
def test_operator_new_without_memory_in_a_library(run, build, shared, runtime):
    # The runtime that throws is the library's own, not the program's, which has none.
    library = shared("out_of_memory.cc", *CXX17, "-DPLUGIN", *runtime)
    run([build("uses_plugin.c", f"-L{library.parent}", f"-l:{library.name}", f"-Wl,-rpath,{library.parent}", "-Wl,--no-as-needed")],
        env=STRICT).ok()
    run([build("uses_plugin.c", "-DALONE"), library], env=STRICT).ok()


@pytest.mark.parametrize("kind", ["-static", "-static-pie", "dynamic"])
@pytest.mark.parametrize("which", ["PLAIN", "ALIGNED"])
def test_static_library_beside_a_programs_own_operators(run, build, static_lib, which, kind):
    # COMPAT 87
    flags = static_flags(static_lib, kind) if kind != "dynamic" else [f"-L{static_lib.parent}", f"-l:{static_lib.name}"]
    run([build("static_operators.cc", f"-D{which}", *CXX17, *flags)], preload=False, env=STRICT).ok()
