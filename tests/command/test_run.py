"""`poolalloc run` and `path`: which library they put under a program, and what belongs to whom.

Always holds: the release build is there (./scripts/test makes it), so nothing is built or installed.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOADED = ["sh", "-c", "grep -o 'libpoolalloc[-a-z]*[.]so' /proc/self/maps | sort -u"]
KINDS = [([], "libpoolalloc.so"), (["--secure"], "libpoolalloc-secure.so")]


def poolalloc(*words, root=ROOT):
    return subprocess.run([root / "scripts/poolalloc", *words], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("options, library", KINDS)
def test_run_and_path_name_the_library_that_was_asked_for(options, library):
    result = poolalloc("run", *options, *LOADED)
    assert (result.returncode, result.stdout, result.stderr) == (0, library + "\n", "")
    path = poolalloc("path", *options).stdout.strip()
    assert path.endswith("/" + library) and pathlib.Path(path).exists()
    loaded = subprocess.run(LOADED, env={"LD_PRELOAD": path, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert (loaded.stdout, loaded.stderr) == (library + "\n", "")


def test_both_libraries_from_a_folder_whose_name_cannot_be_preloaded(tmp_path):
    root = tmp_path / "a folder: two libraries"
    for name in "scripts", "lib", "interpose":
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "meson.build", root)
    (root / "build/release").mkdir(parents=True)
    for _, library in KINDS:
        shutil.copy(ROOT / "build/release" / library, root / "build/release")
    (root / "build/release.built").touch()
    for options, library in KINDS * 2:
        result = poolalloc("run", *options, *LOADED, root=root)
        assert (result.returncode, result.stdout, result.stderr) == (0, library + "\n", "")


@pytest.mark.parametrize("words", [
    ["run"], ["run", "--fast", "true"], ["path", "--fast"], ["path", "--secure", "x"], ["check"], ["check", "a", "b"], ["help", "nothing"],
    ["nothing"], ["stats"], ["compare"], ["compare", "--rounds", "0", "--", "true"], ["compare", "--rounds", "x", "true"],
    ["top", "--interval", "x", "1"], [], ["--fast"]])
def test_what_is_wrong_with_the_call_is_one_line_and_a_status_of_its_own(words):
    result = poolalloc(*words)
    assert (result.returncode, result.stdout) == (125, "")
    assert result.stderr.startswith("poolalloc: ") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["run"], ["path"], ["check"], ["stats"], ["top"], ["map"], ["trim"], ["compare"]])
def test_every_command_has_help_and_a_version(command):
    helped = poolalloc(*command, "--help")
    assert (helped.returncode, helped.stderr) == (0, "") and helped.stdout.lower().startswith("usage: poolalloc")
    version = poolalloc(*command, "--version")
    assert version.returncode == 0 and re.fullmatch(r"poolalloc \d+\.\d+\.\d+\n", version.stdout)


def test_the_table_of_options_is_that_of_the_library():
    names = re.findall(r"^OPTION\((\w+),", (ROOT / "lib/api/options.def").read_text(), re.M)
    for words in ["options"], ["help", "options"]:
        assert re.findall(r"^  POOLALLOC_(\w+)=", poolalloc(*words).stdout, re.M) == [name.upper() for name in names]


def test_the_end_is_the_programs(tmp_path):
    (tmp_path / "text").write_text("")
    for program, status, said in [("/nowhere/x", 127, "no such file"), ("no-such-command", 127, "command not found"),
                                  (tmp_path, 126, "is a directory"), (tmp_path / "text", 126, "not an executable file")]:
        for options in [], ["--stats"]:
            result = poolalloc("run", *options, program)
            assert (result.returncode, result.stdout) == (status, "")
            assert result.stderr == f"poolalloc: {program}: {said}\n"
    for options in [], ["--stats"]:
        assert poolalloc("run", *options, "sh", "-c", "exit 77").returncode == 77
        assert poolalloc("run", *options, "sh", "-c", "kill -USR1 $$").returncode == -signal.SIGUSR1
        assert poolalloc("run", *options, "--", "cat", __file__).stdout == pathlib.Path(__file__).read_text()


# --- The figures at a program's end ---------------------------------------------------------------------------------

PROGRAM = """
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
  (void)argc;
  for (int i = 0; i < 3000; i++) memset(malloc(1000), 1, 1000);
  puts("ready");
  fflush(stdout);
  if (strcmp(argv[1], "exit") == 0) exit(3);
  if (strcmp(argv[1], "_exit") == 0) _exit(3);
  if (strcmp(argv[1], "_Exit") == 0) _Exit(3);
  if (strcmp(argv[1], "quick_exit") == 0) quick_exit(3);
  if (strcmp(argv[1], "vfork") == 0) {
    if (vfork() == 0) _exit(9);
    exit(3);
  }
  if (strcmp(argv[1], "fork") == 0) {
    if (fork() == 0) {
      memset(malloc(30 << 20), 1, 30 << 20);
      _exit(9);
    }
    wait(NULL);
    exit(3);
  }
  for (;;) pause();
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    (folder / "server.c").write_text(PROGRAM)
    subprocess.run(["cc", "-O0", "-w", "-o", folder / "a server", folder / "server.c"], check=True)
    return folder / "a server"


def bytes_of(text):
    number, unit = text.split()
    return float(number) * 1024 ** ["B", "KiB", "MiB", "GiB"].index(unit)


@pytest.mark.parametrize("end", ["exit", "_exit", "_Exit", "quick_exit", "vfork"])
def test_however_a_program_ends_there_is_a_summary(program, end):
    # COMPAT 97
    for run in (["run", "--stats", program, end],):
        result = poolalloc(*run)
        assert (result.returncode, result.stdout) == (3, "ready\n")
        assert re.match(r"poolalloc: summary of process \d+ \(a server\): exit status 3 after ", result.stderr)
        live = re.search(r"live now +(\S+ \S+) in (\d+) blocks", result.stderr)
        assert bytes_of(live[1]) >= 3e6 and int(live[2]) >= 3000
        assert result.stderr.count("summary") == 1
    library = poolalloc("path").stdout.strip()
    result = subprocess.run([program, end], env={"LD_PRELOAD": library, "POOLALLOC_STATS": "1"}, capture_output=True, text=True)
    assert result.returncode == 3 and result.stderr.count("summary") == 1
    assert re.match(r"poolalloc: summary of process \d+ \(a server\)\n", result.stderr)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_a_program_that_a_signal_ends_has_figures(program, number):
    # COMPAT 97
    with subprocess.Popen([ROOT / "scripts/poolalloc", "run", "--stats", program, "pause"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n"
        child = int(subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout)
        # By a terminal to both, to the parent alone, or to the child.
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            os.kill(child if number == signal.SIGKILL else process.pid, number)
        errors = process.stderr.read()
    assert process.returncode == -number
    assert f"(a server): ended by {signal.Signals(number).name} after " in errors
    assert bytes_of(re.search(r"peak live +(\S+ \S+) in", errors)[1]) >= 2.5e6


def test_children_are_shown_below_their_parents_the_largest_first(program):
    result = poolalloc("run", "--stats", "sh", "-c", f"'{program}' exit; '{program}' fork; true")
    lines = result.stderr.splitlines()
    tree = [line for line in lines if re.search(r"\(\d+\)$", line) and "summary" not in line]
    names = [re.search(r"  (\s*)(\S.*) \(\d+\)$", line[len("poolalloc:   "):].split("iB  ")[-1].join(["  ", ""])) for line in tree]
    assert [match[2] for match in names] == ["sh", "a server", "a server", "a server"]
    depths = [len(match[1]) for match in names]
    assert depths[0] < depths[1] < depths[2] and depths[3] == depths[1]
    resident = [bytes_of(re.search(r"(\S+ [KM]iB)", line)[1]) for line in tree]
    assert resident[2] > 30e6 > resident[3]


def test_summaries_of_a_pipeline_stay_whole(program):
    library = poolalloc("path").stdout.strip()
    command = f"'{program}' exit | '{program}' _exit | '{program}' exit | cat; true"
    result = subprocess.run(["sh", "-c", command], env={"LD_PRELOAD": library, "POOLALLOC_STATS": "1", "PATH": os.environ["PATH"]},
                            capture_output=True, text=True)
    blocks = re.split(r"(?=poolalloc: summary of process)", result.stderr)[1:]
    assert len(blocks) >= 4
    assert all(block.count("\n") == 10 and block.endswith("at most at one time\n") for block in blocks), result.stderr


def test_no_figures_for_what_is_not_served(tmp_path):
    (tmp_path / "static.c").write_text("int main(void) { return 0; }")
    subprocess.run(["cc", "-static", "-o", tmp_path / "static", tmp_path / "static.c"], check=True)
    result = poolalloc("run", "--stats", tmp_path / "static")
    assert result.returncode == 0 and result.stderr.startswith("poolalloc: no figures: the library did not serve ")


def test_a_process_that_may_write_no_files_runs_without_figures(program):
    result = poolalloc("run", "--stats", "sh", "-c", f"ulimit -f 0; '{program}' exit")
    assert (result.returncode, result.stdout) == (3, "ready\n")
    assert "(sh)" in result.stderr and "(a server)" not in result.stderr
