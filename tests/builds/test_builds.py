"""How the project builds: both compilers and the cross compiler without a warning, installed files that a
program can be built against, sources in the project's format, and (slow) sanitizers.

Always holds: every build has a directory of its own; nothing outside the test's folder is written.
"""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CROSS = """[binaries]
c = 'aarch64-linux-gnu-gcc'
cpp = 'aarch64-linux-gnu-g++'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
"""
PROGRAM = """#include <poolalloc.h>
#include <stdio.h>
int main(void) {
  Pool a = pool_init(sizeof(int) * 2);
  int *b = pool_alloc(&a, sizeof(int));
  b = pool_realloc(&a, b, sizeof(int), 64);
  pool_free(&a);
  puts(poolalloc_version());
  return b == NULL;
}
"""


def run(*command, timeout=600, **environment):
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result.stdout


def build(directory, *options, **environment):
    run("meson", "setup", directory, ROOT, *options, **environment)
    run("ninja", "-C", directory, **environment)


def test_clang_builds_without_a_warning(tmp_path):
    build(tmp_path / "b", "-Dwerror=true", CC="clang", CXX="clang++")


def test_gcc_builds_for_aarch64_without_a_warning(tmp_path):
    (tmp_path / "aarch64.ini").write_text(CROSS)
    build(tmp_path / "b", "-Dwerror=true", "--cross-file", tmp_path / "aarch64.ini")
    assert "AArch64" in run("readelf", "-h", tmp_path / "b/libpoolalloc.so")


def test_full_checks_build_without_a_warning_and_without_optimization(tmp_path):
    build(tmp_path / "b", "-Dwerror=true", "-Dchecks=full", "--buildtype=debug")
    run("bash", "-c", "for i in {1..300}; do a+=$i; done", LD_PRELOAD=str(tmp_path / "b/libpoolalloc.so"))


def test_installed_files_serve_a_program(tmp_path):
    build(tmp_path / "b", "-Dwerror=true", f"--prefix={tmp_path}/prefix", "--libdir=lib")
    run("ninja", "-C", tmp_path / "b", "install")
    for library in "libpoolalloc.so", "libpoolalloc-secure.so":
        run("true", LD_PRELOAD=str(tmp_path / "prefix/lib" / library))
        assert (tmp_path / "prefix/lib" / library).exists()
    (tmp_path / "program.c").write_text(PROGRAM)
    packages = str(tmp_path / "prefix/lib/pkgconfig")
    flags = run("pkg-config", "--cflags", "--libs", "poolalloc", PKG_CONFIG_PATH=packages).split()
    run("cc", "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-o", tmp_path / "program",
        tmp_path / "program.c", *flags)
    assert run(tmp_path / "program", LD_LIBRARY_PATH=str(tmp_path / "prefix/lib")).strip() == "0.1.0"
    static = run("pkg-config", "--cflags", "poolalloc", PKG_CONFIG_PATH=packages).split()
    run("cc", "-static", "-o", tmp_path / "static", tmp_path / "program.c", *static,
        tmp_path / "prefix/lib/libpoolalloc.a")
    assert run(tmp_path / "static").strip() == "0.1.0"


def test_sources_are_formatted():
    public = {"poolalloc.h", "poolalloc_pool.h"}
    sources = [str(path) for folder in ("lib", "interpose", "tests/unit", "tests/stress", "tests/models")
               for path in sorted((ROOT / folder).rglob("*")) if path.suffix in {".h", ".cc"} and path.name not in public]
    run("clang-format", "--dry-run", "-Werror", *sources)


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_unit_tests_are_clean_under(tmp_path, sanitizer):
    build(tmp_path / "b", "-Dtests=true", "-Dchecks=full", f"-Db_sanitize={sanitizer}", "-Db_lundef=false")
    run("meson", "test", "-C", tmp_path / "b", "--suite", "unit", "--timeout-multiplier", "4", timeout=1500)
