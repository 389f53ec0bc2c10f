"""Tools that watch a program, or change what it sees, together with the library, in either order (COMPAT 71).

What always holds: the program does what it does without the library, and the tool sees or changes what it does then.
"""
import re
import subprocess

import pytest

ORDERS = ["library outside", "library inside"]


@pytest.fixture
def under(run, library):
    """under(tool, words, order): the tool itself has the library, and hands it on; or the program alone. The tool's own
    library, where it has one, is then before or after it."""
    def call(tool, words, order, **options):
        if order == "library outside":
            return run([*tool, *words], preload=[library], **options)
        script = f'LD_PRELOAD="${{LD_PRELOAD:+$LD_PRELOAD:}}{library}" exec "$@"'
        return run([*tool, "sh", "-c", script, "sh", *words], **options)
    return call


def test_the_orders_are_two(under, library):
    tool = ["env", "LD_PRELOAD=/a:" + str(library)], ["env", "LD_PRELOAD=/a"]
    said = [under(words, ["printenv", "LD_PRELOAD"], order).out for words, order in zip(tool, ORDERS)]
    assert said == [f"/a:{library}\n"] * 2


# --- What is told by a preloaded library --------------------------------------------------------------------------------

OPEN = """import fcntl, os
file = os.open("f", os.O_CREAT | os.O_RDWR | os.O_SYNC)
print("written", "at once" if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_SYNC else "later")
"""
CHAINS = {
    "faketime": (["faketime", "-f", "@2001-02-03 04:05:06"], ["date", "-u", "+%Y-%m"], "2001-02\n"),
    "eatmydata": (["eatmydata"], ["python3", "-c", OPEN], "written later\n"),
    "fakeroot": (["fakeroot"], ["sh", "-c", "touch f; chown 1234:77 f; stat -c %u:%g f; echo ${FAKEROOTKEY:+faked}"],
                 "1234:77\nfaked\n"),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", CHAINS)
def test_chains_of_preloaded_libraries(under, run, compiled, name, order):
    # COMPAT 71
    tool, words, expected = CHAINS[name]
    assert run(words).out != expected
    assert run([*tool, *words]).out == expected
    result = under(tool, words, order)
    assert (result.status, result.out, result.err) == (0, expected, ""), result
    result = under(tool, [compiled("work.c")], order)
    assert (result.status, result.out, result.err) == (5, "done\n", ""), result


@pytest.mark.parametrize("order", ORDERS)
def test_all_of_them_at_once(under, compiled, order):
    # COMPAT 71
    tool = [word for words, _, _ in CHAINS.values() for word in words]
    words = ["sh", "-c", f'{compiled("work.c")}; echo $?; {CHAINS["fakeroot"][1][2]}; date -u +%Y']
    result = under(tool, words, order)
    assert (result.out, result.err) == ("done\n5\n1234:77\nfaked\n2001\n", ""), result


# --- Profilers and tracers ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["preloaded", "linked", "injected"])
def test_heaptrack_sees_each_call(run, library, compiled, tmp_path, how):
    # COMPAT 71, 98: its own library before this one, or put into a program that has this one
    folder = library.parent
    flags = ["-Wl,--no-as-needed", f"-L{folder}", f"-Wl,-rpath,{folder}", f"-l:{library.name}"] if how == "linked" else []
    figures = {}
    for name, preload in ("without", []), ("with", [] if how == "linked" else [library]):
        tool = ["heaptrack", *(["--use-inject"] if how == "injected" else []), "-o", tmp_path / name]
        result = run([*tool, compiled("work.c", *(flags if name == "with" else [])), "leak"], preload=preload)
        assert "done" in result.out, result
        (data,) = tmp_path.glob(f"{name}.*")
        text = run(["heaptrack_print", data]).out
        calls, lost = re.search(r"calls to allocation functions: (\d+).*total memory leaked: ([\d.]+)K", text, re.S).groups()
        figures[name] = int(calls), float(lost)
    (calls, lost), (calls_without, lost_without) = figures["with"], figures["without"]
    assert calls >= 16000 and abs(calls - calls_without) <= 20 and abs(lost - lost_without) < 2, figures


@pytest.mark.parametrize("order", ORDERS)
def test_strace_follows_threads(under, run, compiled, tmp_path, order):
    # COMPAT 71
    result = under(["strace", "-f", "-o", tmp_path / "calls"], [compiled("work.c")], order)
    if "Operation not permitted" in result.err:
        pytest.skip("no process may be traced here")
    assert (result.status, result.out, result.err) == (5, "done\n", ""), result
    calls = (tmp_path / "calls").read_text()
    assert len(set(re.findall(r"^(\d+) ", calls, re.M))) >= 5 and "exited with 5" in calls


@pytest.mark.parametrize("linked", [False, True], ids=["preloaded", "linked"])
def test_ltrace_shows_the_calls(run, library, compiled, tmp_path, linked):
    # COMPAT 71: of a program with one thread; ltrace itself ends those with more, also without the library
    tool = ["ltrace", "-f", "-e", "malloc+free", "-o", tmp_path / "calls"]
    folder = library.parent
    flags = ["-Wl,--no-as-needed", f"-L{folder}", f"-Wl,-rpath,{folder}", f"-l:{library.name}"]
    result = run([*tool, compiled("loop.c", *(flags if linked else [])), 5], preload=[] if linked else [library])
    assert (result.out, result.err) == ("ready\n", ""), result
    calls = re.findall(r"loop\S*->(malloc|free)\(", (tmp_path / "calls").read_text())
    assert calls == ["free", "malloc"] * (5 * 64)


def test_perf_names_the_library_and_its_callers(run, library, compiled, tmp_path):
    # COMPAT 71
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "2000", "-o", tmp_path / "data"]
    if run([*record, "true"]).status != 0:
        pytest.skip("perf may not record here")
    for calls in ["-g"], ["--call-graph", "dwarf"]:
        result = run([*record, *calls, compiled("loop.c"), 20000], preload=[library])
        assert (result.status, result.out) == (5, "ready\n"), result
        script = run(["perf", "script", "-i", tmp_path / "data", "-F", "ip,sym,dso"], timeout=120).out
        assert library.name in script
    # With unwind tables each way from the library leads back to the program.
    chains = [chain for chain in script.split("\n\n") if re.match(rf"\s+[0-9a-f]+ \S+ \(\S*{library.name}\)", chain)]
    assert len(chains) > 20 and sum(" turn (" in chain for chain in chains) > 0.8 * len(chains), script[:3000]


def test_gdb_attaches_inside_malloc(library, compiled, tmp_path):
    # COMPAT 71
    env = {"LD_PRELOAD": str(library), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    program = [compiled("loop.c")]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout.readline() == b"ready\n"
        commands = ["set debuginfod enabled off", "set breakpoint pending on", "break malloc", "continue", "backtrace",
                    "finish", "delete", "print (unsigned long)malloc_usable_size((void *)malloc(1000)) >= 1000", "detach"]
        words = ["gdb", "-q", "-nx", "-batch", "-p", str(process.pid)]
        words += [word for each in commands for word in ("-ex", each)]
        for _ in range(3):
            said = subprocess.run(words, capture_output=True, text=True, timeout=120, env={**env, "LD_PRELOAD": ""})
            if "ptrace: Operation not permitted" in said.stderr:
                pytest.skip("no process may be traced here")
            assert re.search(r"^#0 .*malloc", said.stdout, re.M), said
            assert re.search(r"^#1 .* in turn \(", said.stdout, re.M) and "$1 = 1" in said.stdout, said
        process.stdin.close()
        assert process.wait(timeout=30) == 5
