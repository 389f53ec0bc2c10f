"""Programs whose calls are passed on to the allocator behind the library: because the user says so, or because the
program has a malloc of its own.

Always holds: whoever is passed by is as it would be without the library.
"""
import re
import shutil

import pytest

from conftest import REPO

CXX = ["-std=c++17", f"-I{REPO}/lib/api", f"-I{REPO}/lib/pool"]


@pytest.fixture(scope="module")
def passed_on(build):
    return build("passed_on.cc", *CXX)


@pytest.mark.parametrize("value, how", [
    (None, "served"), ("0", "served"), ("1", "passed"), ("{name}", "passed"), ("other,{name}", "passed"),
    ("{name},other", "passed"), ("oth,{name}x,x{name}", "served"), ("{cut}", "served"), (",", "served")])
def test_a_disabled_program_has_its_own_malloc(run, passed_on, value, how):
    env = {} if value is None else {"POOLALLOC_DISABLE": value.format(name=passed_on.name, cut=passed_on.name[:-1])}
    run([passed_on, how], env=env).ok()


def test_blocks_from_before_stay_the_librarys(run, build):
    # A resolver of an indirect function runs before the library starts.
    program = build("passed_on.cc", *CXX, "-DEARLY", "-fPIC")
    run([program, "served"]).ok()
    run([program, "passed"], env={"POOLALLOC_DISABLE": "1"}).ok()


def test_a_script_is_meant_by_its_name_and_by_its_interpreters(run, workdir, passed_on):
    script = workdir / "a-script"
    interpreter = workdir / "interpreter"
    shutil.copy(passed_on, interpreter)
    script.write_text(f"#!{interpreter} passed\n")
    script.chmod(0o755)
    for name in "a-script", "interpreter":
        run([script], env={"POOLALLOC_DISABLE": name}).ok()


def test_other_options_have_no_effect_there(run, passed_on, tmp_path):
    result = run([passed_on, "passed"], env={"POOLALLOC_DISABLE": "1", "POOLALLOC_STATS": "1", "POOLALLOC_GUARD": "10",
                                              "POOLALLOC_LIMIT": ":1M", "POOLALLOC_PROFILE": f"1:{tmp_path}/profile"})
    assert (result.rc, result.out, result.err) == (0, "", ""), result
    assert not (tmp_path / "profile").exists()


def test_the_line_at_the_start_says_so(run):
    result = run(["true"], env={"POOLALLOC_DISABLE": "true", "POOLALLOC_VERBOSE": "1"})
    assert re.fullmatch(r"poolalloc: version \S+ is disabled in process \d+\n", result.err), result


def test_an_allocator_whose_functions_call_each_other_by_name(run, build, shared):
    # COMPAT 16: each call comes by here once more
    program, behind = build("layered.c"), shared("layered_malloc.c")
    run([program], preload=False, after=[behind]).ok()
    run([program], after=[behind], env={"POOLALLOC_DISABLE": "1"}).ok()


def test_a_static_program_has_no_other_allocator(run, build, static_lib):
    program = build("passed_on.cc", *CXX, "-static", "-Wno-error", "-Wl,--whole-archive", static_lib, "-Wl,--no-whole-archive",
                    common=["-O1", "-w", "-pthread", f"-I{REPO}/tests/compat/src", "-DSTATIC"])
    result = run([program, "served"], preload=False, env={"POOLALLOC_DISABLE": "1"})
    assert result.err == "poolalloc: POOLALLOC_DISABLE has no effect: there is no other allocator\n", result


def test_what_a_program_with_a_malloc_of_its_own_does_not_replace_is_libcs(run, build):
    # COMPAT 16, 88
    program = build("own_small.c")
    run([program], preload=False).ok()
    run([program]).ok()
    result = run([program], env={"POOLALLOC_VERBOSE": "1"})
    assert f"malloc is not this library's but that of {program}" in result.err


@pytest.mark.parametrize("how", ["-no-pie", "-pie"])
def test_a_program_that_takes_the_address_of_malloc_is_served(run, build, how):
    # Where a program is at a fixed place, its own stub stands for a library's function.
    flags = ["-fno-pie", "-no-pie"] if how == "-no-pie" else ["-fPIE", "-pie"]
    program = build("passed_on.cc", *CXX, *flags, "-DTAKES_ADDRESS")
    result = run([program, "served"], env={"POOLALLOC_VERBOSE": "1"})
    assert result.rc == 0 and re.fullmatch(r"poolalloc: version \S+ serves process \d+\n", result.err), result
