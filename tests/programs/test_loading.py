"""The library really gets into the programs of this directory.

A test that compares two runs proves nothing if the second run silently came
without the library. What always holds: for every program below the dynamic
linker's own log says that it initialised the library, in the program and in
each dynamically linked process that the command started.
"""

import pathlib

import pytest

COMMANDS = {
    "bash": ["bash", "-c", "echo $(ls / | sort -r | head -1)"],
    "sort": ["sort", "--version"],
    "xargs": ["xargs", "-a", "/etc/passwd", "-P2", "-n1", "true"],
    "tar": ["tar", "-czf", "/dev/null", "/etc/passwd"],
    "python3": ["python3", "-c", "import subprocess; subprocess.run(['true'])"],
    "perl": ["perl", "-e", "print 1; system 'true'"],
    "ruby": ["ruby", "-e", "puts 1; system 'true'"],
    "git": ["git", "version"],
    "sqlite3": ["sqlite3", ":memory:", "select 1"],
    "gcc": ["gcc", "-x", "c", "-c", "/dev/null", "-o", "empty.o"],
    "clang": ["clang", "-x", "c", "-c", "/dev/null", "-o", "empty.o"],
    "make": ["make", "--version"],
    "cmake": ["cmake", "--version"],
    "ninja": ["ninja", "--version"],
    "gdb": ["gdb", "-nx", "--batch", "-ex", "print 1"],
    "tmux": ["tmux", "-V"],
    "redis-server": ["redis-server", "--version"],
    "redis-benchmark": ["redis-benchmark", "--version"],
    "nginx": ["nginx", "-v"],
    "wrk": ["wrk", "-v"],
    "postgres": ["postgres", "--version"],
    "node": ["node", "-p", "1"],
    "java": ["java", "-version"],
    "javac": ["javac", "-version"],
    "xz": ["xz", "--version"],
    "gs": ["gs", "--version"],
    "openssl": ["openssl", "version"],
}


@pytest.mark.parametrize("program", COMMANDS)
def test_library_is_loaded_by(programs, program):
    # wrk has no option that ends with status 0
    programs.assert_loaded_by(COMMANDS[program], status=None if program == "wrk" else 0)


def test_a_run_without_the_library_does_not_load_it(programs):
    maps = programs.run(["bash", "-c", "while read -r l; do echo \"$l\"; done </proc/self/maps"],
                        preload=False).out
    assert "libc.so" in maps
    assert programs.library.name not in maps


def test_packages_txt_lists_every_needed_package(package_table):
    lines = (pathlib.Path(__file__).with_name("packages.txt")).read_text().split("\n")
    listed = {line for line in lines if line and not line.startswith("#")}
    assert set(package_table.values()) <= listed
