"""The library built for musl, a smaller libc, and programs of that libc under it.

Always holds: musl's programs are started by a program of glibc that does not have the library preloaded; each checks its own
laws (tests/compat/src), and is linked with the library, too, for the functions that musl does not declare.
What is not here takes long, or needs what musl has not: dlmopen, swapcontext, ifuncs, LD_AUDIT, stacks of 16 KiB at least;
or a filter that ends the program for blocking signals, which is needed where libc does not say that there is one thread.
"""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests/compat/src"
SPECS = "/usr/lib/x86_64-linux-musl/musl-gcc.specs"
# Debian's wrapper links no C++ and leaves out the table for unwinders, which musl's own compilers have; the kernel's headers
# stand beside glibc's.
WRAPPER = "#!/bin/sh\nexec {compiler} -Wl,--as-needed -Wl,--eh-frame-hdr \"$@\" -specs={specs} -isystem {headers}\n"
PROGRAMS = {
    "alignment_laws": [], "all_sizes": ["small"], "bare": [], "churn": [], "ended_pools": [],
    "fork_beside_libc": ["20"], "fork_deep": ["6", "alive"], "fork_in_handler": ["200", "4", "malloc"],
    "interrupted": ["cancel"], "many_keys": ["32", "1"], "many_threads": ["1"], "only_free": ["1000"], "own_malloc": [],
    "own_realloc": [], "owner_ends": ["20"], "realloc_matrix": ["classes"], "stop_the_world": ["200"], "tls_blocks": [],
    "unshare": [], "usable_size": [],
}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.uname().machine != "x86_64", reason="musl-gcc of x86-64")]
TWICE = """#include <stdlib.h>
int main(void) { void *volatile p = malloc(48); free(p); free(p); return 0; }
"""


def run(*command, **how):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, **how)


@pytest.fixture(scope="module")
def musl(tmp_path_factory):
    """A folder with compilers for musl, cc and c++, and the library built by them."""
    folder = tmp_path_factory.mktemp("musl")
    headers = folder / "headers"
    headers.mkdir()
    for name, path in {"linux": "linux", "asm-generic": "asm-generic", "asm": "x86_64-linux-gnu/asm"}.items():
        (headers / name).symlink_to(f"/usr/include/{path}")
    for name, compiler in ("cc", "gcc"), ("c++", "g++"):
        (folder / name).write_text(WRAPPER.format(compiler=compiler, specs=SPECS, headers=headers))
        (folder / name).chmod(0o755)
    environment = {**os.environ, "CC": str(folder / "cc"), "CXX": str(folder / "c++")}
    for command in ["meson", "setup", folder / "b", ROOT, "-Dwerror=true"], ["ninja", "-C", folder / "b"]:
        done = run(*command, env=environment)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


def compiled(musl, source, *flags):
    program = musl / source.stem
    done = run(musl / "cc", "-std=gnu11", "-O1", "-fno-builtin", "-pthread", f"-I{SOURCES}", source, "-o", program, *flags)
    assert done.returncode == 0, done.stderr
    return program


def started(musl, library, program, *arguments, **environment):
    """Through musl's loader, so that nothing of glibc has the library."""
    variables = [f"{name}={value}" for name, value in {"LD_PRELOAD": musl / "b" / library, **environment}.items()]
    return run("env", *variables, program, *arguments)


@pytest.mark.parametrize("library", ["libpoolalloc.so", "libpoolalloc-secure.so"])
def test_the_library_needs_musl_alone(musl, library):
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", musl / "b" / library).stdout)
    assert needed == ["libc.so"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_laws_hold(musl, name):
    flags = [f"-L{musl}/b", "-lpoolalloc", f"-Wl,-rpath,{musl}/b"]
    result = started(musl, "libpoolalloc.so", compiled(musl, SOURCES / f"{name}.c", *flags), *PROGRAMS[name],
                     POOLALLOC_FOREIGN="abort")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr


@pytest.mark.parametrize("library", ["libpoolalloc.so", "libpoolalloc-secure.so"])
def test_misuse_is_named_with_its_callers_and_options_are_read(musl, library):
    source = musl / "twice.c"
    source.write_text(TWICE)
    program = compiled(musl, source)
    result = started(musl, library, program)
    assert result.returncode == -6 and "is free already" in result.stderr
    assert f"#0 {program}+0x" in result.stderr
    result = started(musl, library, program, POOLALLOC_MISUSE="ignore", POOLALLOC_VERBOSE="1")
    assert result.returncode == 0 and "serves process" in result.stderr
    assert "poolalloc" not in run(program).stderr


def test_a_library_that_comes_late_is_refused_not_half_served(musl):
    """Its thread-local variables need room that musl gives only to what is there from the start."""
    source = musl / "late.c"
    source.write_text('#include <dlfcn.h>\n#include <stdio.h>\nint main(int argc, char **argv) { (void)argc;\n'
                      '  if (dlopen(argv[1], RTLD_NOW) == NULL) puts(dlerror()); return 0; }\n')
    result = run(compiled(musl, source), musl / "b/libpoolalloc.so")
    assert result.returncode == 0 and "initial-exec TLS" in result.stdout
