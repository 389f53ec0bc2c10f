"""How many mappings the library needs, and what it does when the program has used them up (COMPAT 55, 80, 81).

What always holds: vm.max_map_count is the system's; where it is too small or too large for a case, that is skipped. Whoever
allocates beside a program that needs many mappings itself finds room for its own in what is left.
"""
import pytest

STRICT = {"POOLALLOC_FOREIGN": "abort"}


@pytest.fixture
def mappings(run, build):
    """mappings(manner, number, ...) -> figures of mappings.c, with the library or without."""
    program = build("mappings.c")

    def call(*arguments, preload=True):
        result = run([program, *arguments], preload=preload, env=STRICT, timeout=120)
        if result.rc == 77:
            pytest.skip("vm.max_map_count does not suit")
        return [int(word) for word in result.ok().out.split()]
    return call


def test_beside_sixty_thousand_file_mappings(mappings):
    # COMPAT 55: every request is met, and all of it goes back
    assert mappings("files")[0] < 1000


@pytest.mark.parametrize("percent", [0, 10, 50])
def test_ten_gib_live_are_few_mappings(mappings, percent):
    # COMPAT 55: with half of it touched 5 GiB are resident, which the slow test has
    assert mappings("live", 10 if percent < 50 else 2, percent)[0] < 1000


@pytest.mark.parametrize("gib", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_blocks_that_are_filled_part_mappings(mappings, gib):
    # COMPAT 55: each of at most a thousand blocks in huge pages may part what was one mapping
    assert mappings("live", gib, 100)[0] < 2100


@pytest.mark.parametrize("warm", [1, 40])
@pytest.mark.parametrize("size", [100, 400, 1000, 2000, 5000, 30000, 60000, 100000])
def test_blocks_when_there_are_no_mappings_left(mappings, size, warm):
    # COMPAT 81: as glibc, whose memory for small blocks is one mapping that grows
    glibc, ours = mappings("full", size, warm, preload=False), mappings("full", size, warm)
    assert glibc[0] == 200 and ours[0] >= 0.95 * 200, (ours, glibc)
    # And freed and trimmed, they go back.
    assert ours[2] <= glibc[2] + 16 * 1024, (ours, glibc)


ENOMEM, EPERM = 12, 1


@pytest.fixture
def refused(run, build):
    """refused(manner, error) -> MiB mapped, MiB resident when all is freed, of refused.c."""
    def call(manner, error=0, **how):
        result = run([build("refused.c"), manner, error], timeout=100, **how)
        if result.rc == 77:
            pytest.skip("vm.max_map_count is too large")
        return [int(word) for word in result.ok().out.split()]
    return call


@pytest.mark.parametrize("manner, error, kept", [
    ("mremap", ENOMEM, 16), ("mremap", EPERM, 16), ("munmap", ENOMEM, 16), ("munmap", EPERM, 16), ("mprotect", ENOMEM, 16),
    ("madvise", EPERM, 128), ("all", ENOMEM, 128), ("all", EPERM, 128), ("split", 0, 16), ("locked", 0, 16)])
def test_calls_that_are_refused_lose_nothing(refused, manner, error, kept):
    # COMPAT 80: rounds of up to 400 MiB leave no more than what is kept anyway; without madvise what the last one used
    mapped, resident = refused(manner, error, env=STRICT)
    assert mapped <= 256 and resident <= kept, (mapped, resident)


def test_what_could_not_be_unmapped_goes_later(refused, either):
    # COMPAT 80: 400 MiB are freed when there are no mappings left, and the rest when there are
    normal, refused_once = refused("no-maps", **either, env=STRICT), refused("maps", **either, env=STRICT)
    assert refused_once[0] <= normal[0] + 256 and refused_once[1] <= normal[1] + 16, (refused_once, normal)


@pytest.mark.parametrize("manner", ["mprotect", "all"])
@pytest.mark.parametrize("guard", ["0", "1"])
def test_a_library_that_protects_pages_lives_without(refused, secure_lib, manner, guard):
    # COMPAT 80: inaccessible pages around blocks, of the hardened library and of the guard
    library = {"preload": False, "env": {"LD_PRELOAD": str(secure_lib)}} if guard == "0" else {"env": {"POOLALLOC_GUARD": "1"}}
    assert refused(manner, ENOMEM, **library)[1] <= 128
