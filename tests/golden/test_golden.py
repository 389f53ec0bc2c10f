"""What must not drift: exported names, needed libraries, how the file is linked, fast-path lengths (COMPAT 72).

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


# What the first x86-64 processors do not have: SSE3 and later, AVX, the newer instructions on bits. tzcnt is bsf to them,
# and rdssp and incssp, of the compiler's unwinder, do nothing where there is no shadow stack. cmpxchg16b (lib/base/atomic.h)
# is missing in those of 2003 to 2005 only.
NEWER = re.compile(r"""v(?!err|erw)\w+ | (lzcnt|popcnt|andn|bextr|bls\w+|bzhi|pdep|pext|mulx|[rs][aoh][rl]x)[lqwb]?
                       | (ad[co]x|movbe|crc32)[lqwb]?
                       | p(shufb|sign|abs|hadd|hsub|mulld|test|blend|ackusdw|align)\w* | p(min|max)(s[bd]|u[wd])
                       | p(cmpeqq|cmpgtq|insr[bdq]|extr[bdq]|mov[sz]x)\w* | (add|h|mov(s[lh]|d))(sub|add|dup)p?[sd]?
                       | lddqu | (round|blend|dp|insert|extract)p?s?[sd]
                       | aes\w+ | sha(1|256)\w+ | pclmul\w+ | x(save|rstor|begin|end|test)\w* | rd(rand|seed|pid|tscp)
                       | cldemote | clwb
                       | clflushopt | lahf | sahf | k(mov|or|and|not|test)\w+ | movdir\w+ | tpause | umwait""", re.X)


def newer_instructions(lines):
    """{instruction: how often} of those that not every x86-64 processor has; of objdump's lines."""
    found = {}
    for line in lines:
        match = re.match(r"\s+[0-9a-f]+:\s+(?:(?:lock|rep[nz]*|notrack|bnd|cs|ds|data16)\s+)*(\w+)(.*)", line)
        if match and (NEWER.fullmatch(match[1]) or re.search(r"%[yz]mm|%xmm(1[6-9]|[23]\d)", match[2])):
            found[match[1]] = found.get(match[1], 0) + 1
    return found


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86-64 only")
@pytest.mark.parametrize("name", ["libpoolalloc.so", "libpoolalloc-secure.so"])
def test_every_processor_has_the_instructions(name):
    library = LIBRARY if name == "libpoolalloc.so" else LIBRARY.with_name(name)
    if not library.exists():
        pytest.skip(f"no {name}")
    lines = output("objdump", "-d", "--no-show-raw-insn", library).splitlines()
    assert len(lines) > 5000 and newer_instructions(lines) == {}
    needed = re.findall(r"x86 ISA needed: (.*)", output("readelf", "-nW", library))
    assert set(needed) <= {"x86-64-baseline"}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86-64 only")
@pytest.mark.parametrize("machine", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_newer_instructions_are_known(tmp_path, machine):
    """A function that each later level of processors compiles otherwise."""
    (tmp_path / "a.c").write_text("int count(unsigned long n) { return __builtin_popcountl(n); }\n"
                                  "void add(float *a, float *b) { for (int i = 0; i < 64; i++) a[i] += b[i] * 3; }\n")
    subprocess.run(["gcc", "-O3", f"-march={machine}", "-c", "-o", tmp_path / "a.o", tmp_path / "a.c"], check=True)
    assert newer_instructions(output("objdump", "-d", "--no-show-raw-insn", tmp_path / "a.o").splitlines())


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
