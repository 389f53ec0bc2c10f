"""What must not drift: exported names, needed libraries, how the file is linked, fast-path lengths.

Always holds: each expectation stands in a file beside this one or in a named constant; a change of it
is a decision, not an accident.
"""
import os
import pathlib
import re
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARY = pathlib.Path(os.environ.get("POOLALLOC_LIB", ROOT / "build/release/libpoolalloc.so"))
STATIC_TLS_MAX = 64  # bytes; more can make a late dlopen fail
PAIR = """
#include <stdlib.h>
enum { kLive = 64 };
int main(int argc, char **argv) {
  void *volatile live[kLive] = {0};
  long rounds = atol(argv[1]);
  for (long i = 0; i < rounds; i++) {
    free(live[i % kLive]);
    live[i % kLive] = malloc(64);
  }
}
"""


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def golden(name):
    return (HERE / name).read_text().split()


def test_exported_symbols():
    lines = output("nm", "-D", "--defined-only", "--format=posix", LIBRARY).splitlines()
    exported = sorted(line.split()[0].split("@")[0] for line in lines)
    assert exported == golden("symbols.txt")


def test_needed_libraries():
    needed = re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "-dW", LIBRARY))
    assert set(needed) <= set(golden("needed.txt"))


def test_soname():
    assert "[libpoolalloc.so.0]" in output("readelf", "-dW", LIBRARY)


def test_static_tls_is_small():
    sizes = [int(line.split()[5], 16) for line in output("readelf", "-lW", LIBRARY).splitlines()
             if line.split()[:1] == ["TLS"]]
    assert sizes and sum(sizes) <= STATIC_TLS_MAX


def test_link_hardening():
    dynamic = output("readelf", "-dW", LIBRARY)
    headers = output("readelf", "-lW", LIBRARY)
    assert "TEXTREL" not in dynamic
    assert "NOW" in dynamic and "NODELETE" in dynamic and "INITFIRST" in dynamic
    assert "GNU_RELRO" in headers
    stack = next(line for line in headers.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack


REMOTE = """
#include <pthread.h>
#include <stdlib.h>
static void *blocks[200000];
static long rounds;
static void *free_all(void *unused) {
  for (long i = 0; i < rounds; i++) free(blocks[i]);
  return unused;
}
int main(int argc, char **argv) {
  rounds = atol(argv[1]);
  for (long i = 0; i < rounds; i++) blocks[i] = malloc(64);
  pthread_t thread;
  pthread_create(&thread, NULL, free_all, NULL);
  pthread_join(thread, NULL);
}
"""


def spent(program, rounds, tmp_path, *options):
    """{function: instructions} of the library's functions, by callgrind."""
    out = tmp_path / f"callgrind.{rounds}"
    subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program, str(rounds)],
                   env={**os.environ, "LD_PRELOAD": str(LIBRARY)}, check=True, capture_output=True, timeout=300)
    functions = {}
    for line in output("callgrind_annotate", "--threshold=100", *options, str(out)).splitlines():
        match = re.match(r"\s*([\d,]+) \([^)]*\)\s+\S*?:(\w+) \[.*libpoolalloc", line)
        if match:
            functions[match[2]] = int(match[1].replace(",", ""))
    return functions


def compiled(text, tmp_path):
    program = tmp_path / "program"
    (tmp_path / "program.c").write_text(text)
    subprocess.run(["cc", "-O2", "-fno-builtin", "-pthread", "-o", program, tmp_path / "program.c"], check=True, timeout=60)
    return program


def committed(name):
    return int((HERE / name).read_text())


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the committed number is for x86-64")
def test_malloc_free_pair_instructions(tmp_path):
    program, few, many = compiled(PAIR, tmp_path), 20_000, 120_000
    some, more = spent(program, few, tmp_path), spent(program, many, tmp_path)
    per_pair = sum(more[name] - some[name] for name in ("malloc", "free")) / (many - few)
    assert per_pair <= committed("pair_instructions.txt"), per_pair


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the committed number is for x86-64")
def test_remote_free_instructions(tmp_path):
    """From the call of free to its return, with what sending batches takes."""
    program, few, many = compiled(REMOTE, tmp_path), 20_000, 120_000
    some, more = (spent(program, rounds, tmp_path, "--inclusive=yes")["free"] for rounds in (few, many))
    assert (more - some) / (many - few) <= committed("remote_instructions.txt"), (more - some) / (many - few)
