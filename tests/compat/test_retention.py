"""What free memory is kept, and limits of memory: the options POOLALLOC_PURGE..., POOLALLOC_LIMIT (COMPAT 65).

What always holds: sizes are MiB; a program that reaches a limit gets ENOMEM and goes on.
"""
import errno
import pathlib
import resource
import subprocess

import pytest

MIB = 1 << 20


@pytest.fixture
def fill(run, build):
    program = build("fill_and_free.c")

    def call(size, most, limits=None, **options):
        env = {f"POOLALLOC_{name.upper()}": value for name, value in options.items()}
        return tuple(map(int, run([program, size, most], env=env, limits=limits or {}).ok().out.split()))
    return call


@pytest.mark.parametrize("size", [100, 5000, 300000, 6000000])
def test_a_peak_goes_back(fill, size):
    got, _, full, after = fill(size, 400)
    assert got >= 400 and full >= 390 and after <= 48


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_gib_goes_back_before_the_program_falls_asleep(run, build, times):
    # COMPAT 65: a peak that came once goes back while it is freed, to what is always kept; of one that came again as much
    # stays as may be needed once more, and malloc_trim gives that back
    words = [build("falls_asleep.c"), 1024, times, 3]
    before, peak, freed, slept, trimmed = map(int, run(words, timeout=180).ok().out.split())
    assert peak >= 1000 and slept <= freed and trimmed - before < 0.05 * 1024
    assert slept - before <= (48 if times == 1 else 512)


@pytest.mark.parametrize("size", [100, 300000])
def test_purge_off_keeps_all(fill, size):
    assert fill(size, 200, purge="off")[3] >= 190


@pytest.mark.parametrize("options", [{"purge": "eager"}, {"purge": "eager", "purge_floor": "64M"},
                                     {"purge_ceiling": "0"}], ids=str)
def test_purge_eager_keeps_nothing(fill, options):
    assert fill(5000, 100, **options)[3] <= 6


def test_floor_and_ceiling(fill):
    assert 100 <= fill(5000, 300, purge_floor="128M")[3] <= 160
    assert fill(5000, 300, purge_floor="128M", purge_ceiling="32M")[3] <= 40


@pytest.mark.parametrize("size", [100, 5000, 300000, 20000000])
def test_hard_limit(fill, size):
    got, error, full, after = fill(size, 500, limit=":200M")
    assert error == errno.ENOMEM and 140 <= got <= 200 and full <= 220 and after <= 48


def test_soft_limit_purges_harder(fill):
    assert fill(5000, 300, purge_floor="1G")[3] >= 290
    assert fill(5000, 300, limit="64M", purge_floor="1G")[3] <= 72


def test_percent_of_the_address_space(fill):
    if cgroup_limited():
        pytest.skip("a cgroup's limit comes first")
    got, error, full, _ = fill(5000, 900, limits={resource.RLIMIT_AS: 1000 * MIB}, limit=":40%")
    assert error == errno.ENOMEM and 350 <= got <= 400 and full <= 410


def cgroup_limited():
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        file = pathlib.Path(path)
        if file.exists() and file.read_text().strip().isdecimal() and int(file.read_text()) < 1 << 62:
            return True
    return False


# What the kernel shows: the process's groups, and their limits; the least is 300 MiB. The largest number stands for none.
CGROUPS = {
    "version 2": ("0::/outer/inner", {"outer/memory.max": 300 * MIB, "outer/inner/memory.max": "max"}),
    "version 1": ("4:memory:/outer/inner\n0::/", {"memory/outer/memory.limit_in_bytes": 300 * MIB,
                                                  "memory/outer/inner/memory.limit_in_bytes": 9223372036854771712}),
    "a larger one inside": ("0::/outer/inner", {"outer/memory.max": 300 * MIB, "outer/inner/memory.max": 700 * MIB}),
    "a smaller one inside": ("0::/outer/inner", {"outer/memory.max": 700 * MIB, "outer/inner/memory.max": 300 * MIB}),
    "two above": ("0::/top/outer/inner", {"top/memory.max": 300 * MIB, "top/outer/memory.max": "max",
                                          "top/outer/inner/memory.max": 900 * MIB}),
}


@pytest.mark.parametrize("version", CGROUPS)
def test_percent_of_a_cgroup(run, build, tmp_path, version):
    """In a mount namespace, with files in place of the kernel's."""
    groups, limits = CGROUPS[version]
    (tmp_path / "groups").write_text(groups + "\n")
    for name, limit in limits.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(f"{limit}\n")
    mount = 'mount --bind "$1/cgroup" /sys/fs/cgroup && mount --bind "$1/groups" /proc/$$/cgroup'
    if subprocess.run(["unshare", "-m", "bash", "-c", mount, "bash", tmp_path], capture_output=True).returncode != 0:
        pytest.skip("no mount namespace can be made here")
    command = ["unshare", "-m", "bash", "-c", mount + ' && shift && POOLALLOC_LIMIT=10%:50% exec "$@"', "bash",
               tmp_path, build("fill_and_free.c"), 5000, 500]
    got, error, full, _ = map(int, run(command).ok().out.split())
    assert error == errno.ENOMEM and 130 <= got <= 150 and full <= 160


@pytest.mark.parametrize("name, value", [("limit", "x"), ("limit", ""), ("limit", ":"), ("limit", "0%"),
                                         ("limit", "101%"), ("limit", "1G:"), ("limit", "12KX"), ("purge", "yes"),
                                         ("purge_floor", "-1"), ("purge_floor", "5%"), ("purge_ceiling", "1e9"),
                                         ("purge_floor", "99999999999T")])
def test_wrong_values_are_named(run, build, name, value):
    result = run([build("fill_and_free.c"), 100, 1], env={f"POOLALLOC_{name.upper()}": value})
    assert result.rc == 0 and result.err.count("\n") == 1
    assert result.err.startswith(f"poolalloc: POOLALLOC_{name.upper()}={value} is not one of "), result.err
    assert ("a SIZE is a number of bytes, or one with K, M, G or T behind it" in result.err) == (name != "purge")


@pytest.mark.parametrize("value", ["20M", "20m", "20MB", "20MiB", "0.02G", "20480k", "20971520"])
def test_a_limit_is_understood_however_it_is_written(run, build, value):
    got, error, full, _ = map(int, run([build("fill_and_free.c"), 5000, 500],
                                       env={"POOLALLOC_LIMIT": f"none:{value}"}).ok().out.split())
    assert error == errno.ENOMEM and 17 <= got <= 21 and full <= 24


def test_percent_without_a_limit(run, build):
    if cgroup_limited():
        pytest.skip("a cgroup limits memory here")
    result = run([build("fill_and_free.c"), 100, 1], env={"POOLALLOC_LIMIT": "80%"})
    assert result.rc == 0 and "has no effect" in result.err


@pytest.mark.parametrize("days", [16, pytest.param(2000, marks=pytest.mark.slow)])
def test_sizes_that_drift_while_some_survive(run, build, days):
    # COMPAT 64: a day is a quarter of a second of work, so 2000 of them take about ten minutes. Resident memory is at most
    # three times what is live, nights included, in which that is a third of what it is by day; and it does not grow.
    result = run([build("drift.c"), days, 25], timeout=60 + 3 * days)
    third, last = (int(word) / 1000 for word in result.ok().out.split())
    assert third < 3 and last < third * 1.05 + 0.05, (third, last)
