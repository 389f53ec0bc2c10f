"""`poolalloc check`, and the commands that look into a running process.

Always holds: programs are built for the case; nothing is run by check, which a program that leaves a mark when it is run
would show.
"""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAIN = """#include <stdio.h>
#include <stdlib.h>
int main(void) { fclose(fopen("was-run", "w")); free(malloc(100)); return 0; }
"""


def poolalloc(*words, **options):
    return subprocess.run([ROOT / "scripts/poolalloc", *map(str, words)], capture_output=True, text=True, timeout=300, **options)


@pytest.fixture
def build(tmp_path):
    """build(name, text, *flags): compiles a program."""
    def compiled(name, text, *flags, compiler="cc"):
        source = tmp_path / f"{name}.{'cc' if compiler == 'c++' else 'c'}"
        source.write_text(text)
        subprocess.run([compiler, "-O0", "-w", "-o", tmp_path / name, source, *map(str, flags)], check=True)
        return tmp_path / name
    return compiled


def link_flags():
    folder = pathlib.Path(os.environ["POOLALLOC_LIB"]).parent
    return [f"-L{folder}", f"-Wl,-rpath,{folder}"]


def check(program, cwd=None):
    result = poolalloc("check", program, cwd=cwd)
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    first = next(line for line in lines if re.match(r"(yes|no|partly): ", line))
    word = first.split(":")[0]
    assert result.returncode == {"yes": 0, "no": 1, "partly": 2}[word]
    return word, result.stdout


def test_a_program_that_can_be_preloaded(build, tmp_path):
    word, text = check(build("plain", MAIN), cwd=tmp_path)
    assert word == "yes" and "as linked: no; it is served when the library is preloaded" in text
    assert not (tmp_path / "was-run").exists()


# --- Linked -----------------------------------------------------------------------------------------------------------

ONE = "#include <stdlib.h>\nvoid *one(void) { return malloc(10); }\n"
USES_ONE = "void *one(void);\nint main(void) { return one() == 0; }\n"
STRING = "#include <string>\nint main(int c, char **v) { return std::string(100 + c, 'x').size() == 3; }\n"


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("kind", ["c", "library", "c++"])
def test_linked_where_the_linker_drops_what_seems_unused(build, tmp_path, kind, kept):
    """With --as-needed, Debian's default, a library that only other libraries' calls would need is dropped."""
    # COMPAT 96
    keep = ["-Wl,--push-state,--no-as-needed", "-lpoolalloc", "-Wl,--pop-state"] if kept else ["-Wl,--as-needed", "-lpoolalloc"]
    flags = [*link_flags(), *keep]
    if kind == "c":
        program = build("linked", MAIN, *flags)
    elif kind == "library":
        one = build("libone.so", ONE, "-shared", "-fPIC")
        program = build("linked", USES_ONE, f"-L{tmp_path}", f"-Wl,-rpath,{tmp_path}", "-l:libone.so", *flags)
        assert one.exists()
    else:
        program = build("linked", STRING, *flags, compiler="c++")
    needed = subprocess.run(["readelf", "-d", program], capture_output=True, text=True).stdout
    served = "libpoolalloc" in needed
    assert served == (kept or kind == "c" or (kind == "c++" and served))
    word, text = check(program)
    assert word == "yes" and ("as linked: it is served as it is" in text) == served
    result = subprocess.run([program], env={"POOLALLOC_VERBOSE": "1"}, cwd=tmp_path, capture_output=True, text=True)
    assert ("serves process" in result.stderr) == served


def test_a_library_that_is_loaded_behind_libc_says_so(build, tmp_path):
    # COMPAT 96
    program = build("behind", MAIN, "-Wl,--no-as-needed", "-lc", *link_flags(), "-lpoolalloc")
    word, text = check(program)
    assert "as linked: no, though it asks for the library" in text
    result = subprocess.run([program], env={"POOLALLOC_VERBOSE": "1"}, cwd=tmp_path, capture_output=True, text=True)
    assert re.search(r"poolalloc: malloc is not this library's but that of \S*libc", result.stderr)


def test_linked_statically(build):
    archive = pathlib.Path(os.environ["POOLALLOC_LIB"]).with_name("libpoolalloc.a")
    if not archive.exists():
        pytest.skip("no libpoolalloc.a beside the library")
    word, text = check(build("static", MAIN, "-static", archive))
    assert word == "yes" and "as linked" in text
    word, text = check(build("other", MAIN, "-static"))
    assert word == "no" and "statically linked" in text and "libpoolalloc.a" in text


# --- What cannot be served ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("flag, title", [("address", "AddressSanitizer"), ("thread", "ThreadSanitizer")])
def test_sanitizers(build, flag, title):
    # COMPAT 70
    word, text = check(build("sanitized", MAIN, f"-fsanitize={flag}"))
    assert word == "no" and title in text and "to do: run it without the library" in text


def test_a_32_bit_program(tmp_path):
    # An ELF header is all that it takes.
    header = bytearray(52)
    header[:7] = b"\x7fELF\x01\x01\x01"
    header[16:20] = (2).to_bytes(2, "little") + (3).to_bytes(2, "little")
    header[20:24] = (1).to_bytes(4, "little")
    header[40:42] = (52).to_bytes(2, "little")
    (tmp_path / "old").write_bytes(header)
    (tmp_path / "old").chmod(0o755)
    word, text = check(tmp_path / "old")
    assert word == "no" and "32-bit" in text and "64-bit" in text


def test_more_rights(build):
    program = build("privileged", MAIN)
    program.chmod(0o4755)
    word, text = check(program)
    assert word == "no" and "more rights" in text and "to do: link it" in text
    linked = build("linked", MAIN, *link_flags(), "-lpoolalloc")
    linked.chmod(0o4755)
    word, text = check(linked)
    assert word == "yes" and "as linked" in text


def test_an_allocator_of_its_own(build):
    # COMPAT 69: one clear line
    own = MAIN + "void *malloc(unsigned long n) { return 0; }\nvoid free(void *p) {}\n"
    word, text = check(build("own", own, "-rdynamic"))
    assert word == "no" and "an allocator of their own" in text and "free, malloc of" in text


def test_neither_program_nor_script(tmp_path):
    (tmp_path / "data").write_bytes(b"\x00\x01\x02")
    (tmp_path / "data").chmod(0o755)
    word, text = check(tmp_path / "data")
    assert word == "no" and "neither an ELF program nor a script" in text


@pytest.mark.parametrize("name, said", [("/tmp", "is a directory"), ("/nowhere/x", "no such file"), ("no-such-command", "no such command"),
                                        (__file__, "not an executable file")])
def test_what_is_no_program(name, said):
    result = poolalloc("check", name)
    assert (result.returncode, result.stdout, result.stderr) == (125, "", f"poolalloc: {name}: {said}\n")


# --- Scripts ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("line", ["#!/bin/sh", "#! /bin/sh -e", "#!/usr/bin/env sh", "#!/usr/bin/env -S sh -e",
                                  "#!/usr/bin/env -S A=1 B='x y' sh -e", "#!/usr/bin/env -i sh", "#!/usr/bin/env -S -u HOME sh"])
def test_scripts(tmp_path, line):
    script = tmp_path / "script"
    script.write_text(f"{line}\ntouch was-run\n")
    script.chmod(0o755)
    word, text = check(script, cwd=tmp_path)
    assert word == "yes" and f"{script} is a script for " in text and re.search(r"yes: .*/(sh|dash) and its", text)
    assert not (tmp_path / "was-run").exists()


def test_a_version_managers_shim(build, tmp_path):
    program = build("program", MAIN)
    manager = tmp_path / "bin/pyenv"
    manager.parent.mkdir()
    manager.write_text(f'#!/bin/sh\n[ "$1" = which ] && [ "$2" = tool ] && echo "{program}"\n')
    manager.chmod(0o755)
    shim = tmp_path / "tool"
    shim.write_text(f'#!/usr/bin/env bash\nset -e\nprogram="${{0##*/}}"\nexec "{manager}" exec "$program" "$@"\n')
    shim.chmod(0o755)
    word, text = check(shim)
    assert word == "yes" and f"{shim} stands for {program} (pyenv)" in text
    manager.write_text("#!/bin/sh\nexit 1\n")
    word, text = check(shim)
    assert word == "no" and "names none" in text


def test_a_script_that_runs_itself(tmp_path):
    script = tmp_path / "script"
    script.write_text(f"#!{script}\n")
    script.chmod(0o755)
    result = poolalloc("check", script)
    assert result.returncode == 1 and "runs itself" in result.stderr


# --- What stays outside -------------------------------------------------------------------------------------------------

def test_another_allocators_own_functions(build, tmp_path):
    build("libjemalloc.so.2", "int mallctl(const char *n) { return 0; }\n", "-shared", "-fPIC")
    program = build("talks", "int mallctl(const char *);\n" + MAIN.replace("free(", "mallctl(0); free("),
                    f"-L{tmp_path}", f"-Wl,-rpath,{tmp_path}", "-l:libjemalloc.so.2")
    word, text = check(program)
    assert word == "yes" and "outside: it talks to libjemalloc.so.2 itself (mallctl)" in text


@pytest.mark.parametrize("kind, flags, outside", [
    ("java", ["-l:libjli.so"], "the Java heap"), ("go", [], "the Go heap"), ("node", [], "the JavaScript heap of V8")])
def test_run_time_systems_with_a_heap_of_their_own(build, tmp_path, kind, flags, outside):
    build("libjli.so", "int jli(void) { return 0; }\n", "-shared", "-fPIC")
    text = {"java": "int jli(void);\n" + MAIN.replace("free(", "jli(); free("),
            "go": MAIN + '__attribute__((section(".go.buildinfo"))) int go = 1;\n',
            "node": MAIN + "void _ZN2v87Isolate3NewEv(void) {}\n"}[kind]
    program = build(kind, text, f"-L{tmp_path}", f"-Wl,-rpath,{tmp_path}", "-rdynamic", *flags)
    word, said = check(program)
    assert word == "partly" and f"outside: {outside}" in said


def test_python_is_told_of_its_small_objects():
    word, text = check("/usr/bin/python3")
    assert word == "yes" and "PYTHONMALLOC=malloc" in text


# --- Running processes --------------------------------------------------------------------------------------------------

LOOP = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
  static void *blocks[2000];
  for (int i = 0; i < 2000; i++) memset(blocks[i] = malloc(5000), 1, 5000);
  for (int i = 0; i < 2000; i++) free(blocks[i]);
  puts("ready");
  fflush(stdout);
  for (;;) {
    for (int i = 0; i < 100; i++) blocks[i] = malloc(60000);
    for (int i = 0; i < 100; i++) free(blocks[i]);
    usleep(10000);
  }
}
"""


@pytest.fixture
def process(build):
    program = build("looping", LOOP)
    library = poolalloc("path").stdout.strip()
    with subprocess.Popen([program], env={"LD_PRELOAD": library}, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "ready\n"
        yield started
        started.kill()


@pytest.mark.parametrize("secure", [False, True])
def test_check_looks_into_a_process(secure):
    options = ["--secure"] if secure else []
    with subprocess.Popen([ROOT / "scripts/poolalloc", "run", *options, "sh", "-c", "echo started; read line"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        said = poolalloc("check", str(process.pid))
        process.communicate("\n")
    assert said.returncode == 0 and said.stdout.startswith(f"yes: libpoolalloc serves process {process.pid} ("), said


def test_check_of_a_process_whose_calls_are_passed_on():
    with subprocess.Popen([ROOT / "scripts/poolalloc", "run", "sh", "-c", "echo started; read line"], env={**os.environ, "POOLALLOC_DISABLE": "sh"},
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        said = poolalloc("check", str(process.pid))
        process.communicate("\n")
    assert said.returncode == 1 and said.stdout.startswith(f"no: libpoolalloc in process {process.pid} passes every call on"), said


def test_a_process_without_the_library_and_none_at_all():
    result = poolalloc("check", os.getpid())
    assert (result.returncode, result.stdout) == (1, f"no: process {os.getpid()} has not loaded libpoolalloc\n")
    for command in "check", "stats", "map", "trim":
        result = poolalloc(command, 2 ** 22 - 1)
        assert (result.returncode, result.stdout, result.stderr) == (1, "", f"poolalloc: no process {2 ** 22 - 1}\n")
    for command in "stats", "map", "trim", "top":
        result = poolalloc(command, os.getpid())
        assert result.returncode == 1 and result.stderr == f"poolalloc: process {os.getpid()} has not loaded libpoolalloc\n"


def test_map_of_a_process(process):
    mapped = poolalloc("map", process.pid).stdout
    assert "the library's own file" in mapped and "anonymous" in mapped


def test_trim_is_done_by_the_process_itself(process):
    result = poolalloc("trim", process.pid)
    assert result.returncode == 0 and re.match(rf"process {process.pid} has given \S+ MiB back; ", result.stdout), result
    # One that does nothing does not come by.
    os.kill(process.pid, 19)
    result = poolalloc("trim", "--wait", "0.3", process.pid)
    os.kill(process.pid, 18)
    assert result.returncode == 1 and "has not come by yet" in result.stdout


def test_compare_says_what_it_gives():
    result = poolalloc("compare", "--rounds", "2", "--", "sh", "-c", "exit 0")
    assert result.returncode == 0 and result.stderr == ""
    assert re.search(r"^advice: ", result.stdout, re.M) and "glibc" in result.stdout and "poolalloc" in result.stdout
    result = poolalloc("compare", "--rounds", "1", "sh", "-c", "exit 4")
    assert "ends with 4 under glibc's allocator" in result.stderr
    assert poolalloc("compare", "--", "no-such-command").returncode == 125
