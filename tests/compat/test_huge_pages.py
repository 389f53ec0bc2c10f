"""Huge pages are used where they pay, and nowhere else (lib/chunk/huge_pages.h).

Always holds: what the kernel says counts (/proc/self/smaps_rollup of a program that has just allocated);
on a system whose policy is "never" the programs must run all the same and have none.
"""
import pathlib

import pytest

MIB = 1024  # of KiB
POLICY = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.fixture(scope="module")
def policy():
    text = POLICY.read_text() if POLICY.exists() else "[never]"
    return text.split("[")[1].split("]")[0]


@pytest.fixture
def by_advice(policy):
    """For laws that hold only where the kernel does not give huge pages to everybody."""
    if policy == "always":
        pytest.skip("the system's policy gives them to everybody")


@pytest.fixture
def memory(run, build):
    """memory(manner, option) -> resident KiB, KiB in huge pages."""
    program = build("huge_pages.c", "-pthread")

    def measure(manner, option="default"):
        result = run([program, *manner.split()], env={"POOLALLOC_HUGE_PAGES": option}).ok()
        resident, huge = map(int, result.out.split())
        return resident, huge
    return measure


def test_a_large_heap_has_them_and_is_not_larger(memory, policy):
    resident, huge = memory("large")
    small_pages, none = memory("large", "off")
    assert none == 0
    assert resident <= small_pages * 1.05
    if policy != "never":
        assert huge >= resident * 0.8


def test_a_heap_of_less_than_a_mib_has_none(memory, by_advice):
    assert memory("small 2")[1] == 0


@pytest.mark.parametrize("quarters", [6, 10, 16, 32])
def test_a_small_heap_is_one_huge_page_larger_at_most(memory, by_advice, quarters):
    resident = memory(f"small {quarters}")[0]
    assert resident <= memory(f"small {quarters}", "off")[0] + 2 * MIB + MIB // 2
    assert resident < 16 * MIB


@pytest.mark.parametrize("mib", [3, 4, 6, 8, 13, 17, 21])
@pytest.mark.parametrize("kept", [0, 1000])
def test_what_is_torn_goes_back_as_a_whole(memory, mib, kept):
    # Also what nobody has claimed of a huge page that was faulted in.
    resident = memory(f"peak {mib} {kept}")[0]
    assert resident <= memory(f"peak {mib} {kept}", "off")[0] + MIB // 4


def test_many_threads_that_use_little_have_none(memory, by_advice):
    resident, _ = memory("threads")
    assert resident <= memory("threads", "off")[0] * 1.05


@pytest.mark.parametrize("manner", ["sparse", "reserved"])
def test_blocks_that_stay_mostly_unused_do_not_fill_them(memory, by_advice, manner):
    assert memory(manner)[0] <= memory(manner, "off")[0] + 2 * MIB


@pytest.mark.parametrize("manner", ["buffers", "grown", "medium"])
def test_blocks_that_are_filled_have_them(memory, policy, manner):
    resident, huge = memory(manner)
    assert resident <= memory(manner, "off")[0] * 1.05
    if policy != "never":
        assert huge >= resident * 0.7


@pytest.mark.parametrize("manner", ["buffer", "sparse-after-dense", "sparse-medium"])
def test_blocks_of_which_that_is_not_known_have_none(memory, by_advice, manner):
    resident, huge = memory(manner)
    assert resident <= memory(manner, "off")[0] + 12 * MIB, huge


@pytest.mark.parametrize("manner", ["small 32", "large", "threads", "sparse"])
@pytest.mark.parametrize("option", ["off", "always"])
def test_the_options_work(memory, policy, manner, option):
    _, huge = memory(manner, option)
    if option == "off" or policy == "never":
        assert huge == 0
    else:
        assert huge > 0


@pytest.fixture
def set_policy(policy):
    """set_policy(name) is the system's policy until the test ends."""
    def change(wanted):
        try:
            if wanted != policy:
                POLICY.write_text(wanted)
        except OSError:
            pytest.skip("the system's policy cannot be changed here")
    yield change
    if POLICY.exists() and f"[{policy}]" not in POLICY.read_text():
        POLICY.write_text(policy)


@pytest.mark.parametrize("wanted, option", [("never", "default"), ("madvise", "default"), ("always", "default"),
                                            ("always", "off")])
def test_a_block_in_each_huge_page_does_not_keep_it(run, build, set_policy, wanted, option):
    # COMPAT 63: 400 MiB, of which 200 blocks live on, leave what they would leave in small pages
    set_policy(wanted)
    result = run([build("sparse_heap.c"), 400], env={"POOLALLOC_HUGE_PAGES": option})
    full, resident, huge = map(int, result.ok().out.split())
    assert full > 400 * MIB and resident < 64 * MIB, (full, resident, huge)
    assert huge == 0 or wanted != "never"


def test_programs_that_a_program_starts_may_have_huge_pages(run, build):
    # COMPAT 63: forbidding them by prctl would be inherited; "0 0" is what the forked child and the executed program have
    for option in ("default", "off"):
        result = run([build("sparse_heap.c"), 10, "child"], env={"POOLALLOC_HUGE_PAGES": option})
        assert result.ok().out.split() == ["0", "0"], result
