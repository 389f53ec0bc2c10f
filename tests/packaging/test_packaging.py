"""What is installed, and the packages: programs that are built against it, and a fresh system on which it is.

Always holds: everything is installed into a folder of the test's own; the fresh system is a chroot.
"""
import json
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
STRING = "#include <string>\nint main(int c, char **v) { return std::string(100 + c, 'x').size() == 3; }\n"
POOL = """#include <poolalloc.h>
int main(void) {
  Pool a = pool_init(8);
  int *b = (int *)pool_alloc(&a, sizeof(int));
  poolalloc_heap *heap = poolalloc_heap_new(NULL);
  if (b == NULL || poolalloc_heap_alloc(heap, 10) == NULL) return 1;
  poolalloc_heap_delete(heap);
  pool_free(&a);
  return 0;
}
"""
CMAKE = """cmake_minimum_required(VERSION 3.16)
project(test C CXX)
find_package(poolalloc 0.1 REQUIRED)
add_executable(string string.cc)
target_link_libraries(string PRIVATE poolalloc::poolalloc)
target_link_options(string PRIVATE -Wl,--as-needed)
add_executable(pool pool.c)
target_link_libraries(pool PRIVATE poolalloc::poolalloc)
add_executable(static pool.c)
target_link_libraries(static PRIVATE poolalloc::static)
target_link_options(static PRIVATE -static)
"""


def run(*command, status=0, timeout=600, **options):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout, **options)
    assert result.returncode == status, f"{command}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"
    return result.stdout


def needed(program):
    return run("readelf", "-d", program)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    run("meson", "setup", folder / "build", ROOT, f"--prefix={folder}/prefix", "--libdir=lib")
    run("ninja", "-C", folder / "build", "install")
    return folder / "prefix"


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "string.cc").write_text(STRING)
    (tmp_path / "pool.c").write_text(POOL)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    return tmp_path


def test_pkg_config_keeps_the_library(prefix, sources):
    # COMPAT 96
    environment = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig"), "LD_LIBRARY_PATH": str(prefix / "lib")}
    flags = run("pkg-config", "--cflags", "--libs", "poolalloc", env=environment).split()
    for compiler, source in ("c++", "string.cc"), ("cc", "pool.c"):
        program = sources / pathlib.Path(source).stem
        run(compiler, "-Wl,--as-needed", "-o", program, sources / source, *flags)
        assert "libpoolalloc.so.0" in needed(program)
        run(program, env=environment)
    assert "no-as-needed" not in needed(sources / "string")


def test_cmake_finds_it(prefix, sources):
    build = sources / "build"
    run("cmake", "-S", sources, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    for program in "string", "pool", "static":
        run(build / program)
    assert "libpoolalloc.so.0" in needed(build / "string")
    assert "There is no dynamic section" in needed(build / "static")
    run("cmake", "--find-package", "-DNAME=poolalloc", "-DCOMPILER_ID=GNU", "-DLANGUAGE=C", "-DMODE=EXIST",
        f"-DCMAKE_PREFIX_PATH={prefix}", cwd=build)
    (sources / "CMakeLists.txt").write_text(CMAKE.replace("poolalloc 0.1", "poolalloc 1.0"))
    run("cmake", "-S", sources, "-B", sources / "other", f"-DCMAKE_PREFIX_PATH={prefix}", status=1)


def test_the_installed_command_needs_no_checkout(prefix, tmp_path):
    command = prefix / "bin/poolalloc"
    assert run(command, "version", cwd=tmp_path).splitlines()[1] == str(prefix / "lib/libpoolalloc.so.0")
    assert "libpoolalloc" in run(command, "run", "cat", "/proc/self/maps", cwd=tmp_path)
    assert run(command, "check", "cat", cwd=tmp_path).startswith("yes: ")
    assert "POOLALLOC_LIMIT" in run(command, "options", cwd=tmp_path)
    run(command, "bench", status=125, cwd=tmp_path)


@pytest.mark.parametrize("page, words", [
    ("man1/poolalloc.1", ["run [--stats] [--profile[=SIZE]] [--leaks[=STATUS]] [--secure]", "check PROGRAM|PID", "profile", "leaks", "125"]),
    ("man3/poolalloc.3", ["poolalloc_pool_rewind", "poolalloc_heap_push", "poolalloc_profile_start", "ENOMEM", "THE POOL CHAIN", "HEAPS"]),
    ("man7/poolalloc.options.7", ["POOLALLOC_LIMIT", "POOLALLOC_PURGE_FLOOR", "as in 1.5G"])])
def test_man_pages(prefix, page, words):
    environment = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANROFFOPT": "-ww"}
    result = subprocess.run(["man", "--warnings", "-l", prefix / "share/man" / page], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("typed, offered", [(["poolalloc", "ch"], "check"), (["poolalloc", "run", "--s"], "--secure"),
                                            (["poolalloc", "compare", "--p"], "--peers")])
def test_completion(typed, offered):
    script = f'''. {ROOT}/scripts/packaging/poolalloc.bash; COMP_WORDS=({" ".join(typed)}); COMP_CWORD={len(typed) - 1}; _poolalloc
                 printf '%s\\n' "${{COMPREPLY[@]}}"'''
    assert offered in run("bash", "-c", script).split()


# --- Debian packages ----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    run(ROOT / "scripts/packaging/make-deb", folder)
    return folder


def test_lintian_has_nothing_to_say(packages):
    changes = next(packages.glob("*.changes"))
    assert run("lintian", "--allow-root", "--fail-on", "error,warning", changes) == ""


@pytest.mark.slow
def test_a_fresh_system_installs_runs_and_purges_them(packages, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root makes a chroot")
    system = tmp_path / "system"
    made = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", system], capture_output=True, text=True, timeout=300)
    if made.returncode != 0:
        pytest.skip("no Debian archive to be reached")

    def inside(*words, status=0):
        return run("chroot", system, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive",
                   *words, status=status)
    mounts = [("proc", system / "proc", ["-t", "proc"]), ("/dev", system / "dev", ["--bind"])]
    for source, target, options in mounts:
        run("mount", *options, source, target)
    try:
        for package in packages.glob("*.deb"):
            if "dbgsym" not in package.name:
                (system / "tmp" / package.name).write_bytes(package.read_bytes())
        inside("sh", "-c", "apt-get install -y --no-install-recommends /tmp/*.deb")
        inside("useradd", "-m", "you")
        for user in [], ["su", "you", "-c"]:
            command = "poolalloc check perl && poolalloc run --stats perl -e 'print 42' 2>&1 && poolalloc compare --rounds 1 true"
            said = inside(*(user or ["sh", "-c"]), command)
            assert "yes: " in said and "42" in said and "summary of process" in said and "advice: " in said
            said = inside(*(user or ["sh", "-c"]), "cd $(mktemp -d) && poolalloc leaks perl -e 'print 42' 2>&1 && "
                          "poolalloc run --profile=4K perl -e 'print 43' 2>&1 && poolalloc profile poolalloc-*.pb.gz --by alloc --top 3")
            assert "leaks of process" in said and re.search(r"^perl: .* allocated in all", said, re.M), said
            assert re.search(r"^ *[0-9.]+ \S+ +[0-9.]+ % .* %  \w+$", said, re.M), said
        # As the Dockerfile of docs/recipes.md has it.
        served = inside("env", "LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libpoolalloc.so.0", "POOLALLOC_LIMIT=75%:95%", "POOLALLOC_VERBOSE=1",
                        "sh", "-c", "exec perl -e 'print 42' 2>&1")
        assert "serves process" in served and served.endswith("42")
        inside("sh", "-c", "apt-get purge -y libpoolalloc0 libpoolalloc-dev poolalloc-tools")
        assert inside("sh", "-c", "find / -xdev -name '*poolalloc*' -not -path '/tmp/*' -not -path '/var/*' | wc -l").strip() == "0"
    finally:
        for _, target, _ in reversed(mounts):
            run("umount", target)


# --- What says the version, and the interface ---------------------------------------------------------------------------

def test_the_version_is_the_same_everywhere():
    header = (ROOT / "lib/api/poolalloc.h").read_text()
    version = ".".join(re.search(rf"POOLALLOC_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH"))
    packaging = ROOT / "scripts/packaging"
    assert f"version : '{version}'" in (ROOT / "meson.build").read_text()
    assert json.loads((packaging / "vcpkg/vcpkg.json").read_text())["version-semver"] == version
    assert f'version = "{version}"' in (packaging / "conan/conanfile.py").read_text()
    assert (packaging / "debian/changelog").read_text().startswith(f"libpoolalloc ({version})")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_recipes_are_well_formed(tmp_path):
    compile((ROOT / "scripts/packaging/conan/conanfile.py").read_text(), "conanfile.py", "exec")
    # The functions of vcpkg stand for themselves here.
    script = ('set(CURRENT_PACKAGES_DIR /nowhere)\nforeach(name configure_meson install_meson cmake_config_fixup fixup_pkgconfig '
              'copy_tools install_copyright)\n  cmake_language(EVAL CODE "function(vcpkg_${name})\\nendfunction()")\nendforeach()\n'
              f'include({ROOT}/scripts/packaging/vcpkg/portfile.cmake)\nmessage(STATUS "sources ${{SOURCE_PATH}}")\n')
    (tmp_path / "port.cmake").write_text(script)
    result = subprocess.run(["cmake", "-P", tmp_path / "port.cmake"], capture_output=True, text=True)
    assert result.returncode == 0 and f"sources {ROOT}" in result.stdout, result


def test_the_interface_is_what_it_was(tmp_path):
    """What was there is there still; what is new is to be added to abi.xml."""
    run(ROOT / "scripts/packaging/make-abi", tmp_path / "now.xml")
    result = subprocess.run(["abidiff", "--no-show-locs", ROOT / "scripts/packaging/abi.xml", tmp_path / "now.xml"], capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stdout + "\nscripts/packaging/make-abi writes abi.xml anew"
