"""What the hardened library notices, and whom it does not accuse: small programs, run with it preloaded.

What always holds:
* The library is $POOLALLOC_SECURE_LIB, by default libpoolalloc-secure.so beside $POOLALLOC_LIB; the programs lie in
  $POOLALLOC_DEATH_PROGRAMS as death_NAME, or are compiled.
* How a program ended, and the first line that it wrote to stderr, are compared exactly. Where a write may be found in
  more than one way, each of them is one that is listed here.
"""
import os
import pathlib
import re
import signal
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
LIB = os.environ.get("POOLALLOC_SECURE_LIB")
if not LIB and os.environ.get("POOLALLOC_LIB"):
    LIB = str(pathlib.Path(os.environ["POOLALLOC_LIB"]).with_name("libpoolalloc-secure.so"))

pytestmark = pytest.mark.skipif(not LIB or not pathlib.Path(LIB).exists(), reason="there is no hardened library")


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """program(name): the path of a program."""
    built = os.environ.get("POOLALLOC_DEATH_PROGRAMS")
    directory = tmp_path_factory.mktemp("secure")

    def found(name):
        path = pathlib.Path(built or directory) / f"death_{name}"
        if not built and not path.exists():
            source = next(HERE.glob(f"{name}.c*"))
            compiler = ["c++", "-std=c++17"] if source.suffix == ".cc" else ["cc"]
            subprocess.run([*compiler, "-O0", "-fno-builtin", "-w", "-pthread", source, "-o", path], check=True)
        return path
    return found


def run(path, *arguments, timeout=60, **options):
    env = {"LD_PRELOAD": LIB, **{f"POOLALLOC_{name.upper()}": value for name, value in options.items()}}
    return subprocess.run([path, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=timeout)


def block_size(size):
    """Bytes of the block of a pool that serves a request: with eight for its record, eight sizes per doubling."""
    size = max(size + 8, 24)
    if size <= 128:
        return (size + 15) // 16 * 16
    step = 1 << (size - 1).bit_length() - 4
    return (size + step - 1) // step * step


def aligned_size(size):
    """Of a block with alignment 64."""
    return block_size((max(size + 8, 24) + 63) // 64 * 64 - 8)


def is_small(size):
    return 0 < size <= 65536 - 8


def freed_size(size, make):
    if make in ("new-aligned", "memalign") and size <= 65528:
        return aligned_size(size)
    return block_size(size) if is_small(size) else size


CALLERS = {"free": "free()", "cfree": "free()", "free_sized": "free_sized()", "realloc": "realloc()",
           "delete": "operator delete", "delete-sized": "operator delete", "delete-aligned": "operator delete",
           "delete[]": "operator delete[]", "delete[]-sized": "operator delete[]"}
MAKERS = {"malloc": "malloc or a relative", "calloc": "malloc or a relative", "memalign": "malloc or a relative",
          "realloc": "malloc or a relative", "new": "operator new", "new-aligned": "operator new",
          "new[]": "operator new[]"}
FAMILIES = {"malloc": ["free", "cfree", "free_sized", "realloc"], "new": ["delete", "delete-sized"],
            "new-aligned": ["delete-aligned"], "new[]": ["delete[]", "delete[]-sized"]}

FREE = "{caller}: {target} is free already (double free of a block of {size} bytes)"
FREE_LARGE = "{caller}: {target} is free already, or never was in use (double free of a large block, or a wrong pointer)"
INSIDE = "{caller}: {target} is inside a block of {size} bytes, which begins at {block}"
BEYOND = "the block at {target} was written beyond its end, or the one behind it before its start"
NEAR = "the block at {target} was written beyond its ends, or a free one beside it after it was freed"
WRITTEN = "{target} was written to after it was freed, or by an overflow of the block before it (a free block of {size} bytes)"
MAKER = "{caller}: {target} is a block of {maker}"
SIZE = "{caller}: {target} is a block of {size} bytes, not of {said}"


class Ended:
    """A run of the program `hardened`."""

    def __init__(self, program, kind, size, make="malloc", free="free", where="here", count=0, **options):
        self.size, self.make, self.free = size, make, free
        self.result = run(program("hardened"), kind, size, make, free, where, count, **options)
        assert self.result.stdout != "", self.result
        self.block, self.target = self.result.stdout.split()[:2]

    def line(self, what, **values):
        known = {"caller": CALLERS[self.free], "maker": MAKERS[self.make], "target": self.target, "block": self.block,
                 "size": freed_size(self.size, self.make)}
        return "poolalloc: " + what.format(**{**known, **values})

    def aborted(self, *lines):
        """It aborted, and said one of these, a stack trace, and how to go on."""
        said = self.result.stderr.splitlines()
        assert said and said[0] in lines, (self.result, lines)
        for line in said[1:-1]:
            assert re.fullmatch(r"poolalloc:   #\d+ /\S+\+0x[0-9a-f]+", line), self.result
        assert said[-1] == "poolalloc: to go on after this, set POOLALLOC_MISUSE=warn", self.result
        assert self.result.returncode == -signal.SIGABRT, self.result
        assert "alive" not in self.result.stdout

    def faulted(self):
        assert (self.result.returncode, self.result.stderr) == (-signal.SIGSEGV, ""), self.result

    def went_on(self, *lines):
        """It got to its end, and the first that it said was one of these."""
        said = self.result.stderr.splitlines()
        assert said[:1] == [] if not lines else said and said[0] in lines, (self.result, lines)
        assert (self.result.returncode, self.result.stdout.endswith("alive\n")) == (0, True), self.result


SIZES = [0, 1, 8, 24, 25, 100, 104, 1000, 5000, 40000, 65528, 65529, 300000, 3 << 20]
SMALL = [size for size in SIZES if is_small(size)]
LARGE = [size for size in SIZES if size > 65528]
PAIRS = [(make, free) for make, frees in FAMILIES.items() for free in frees]


# --- Twice, and wrong pointers -------------------------------------------------------------------------------

@pytest.mark.parametrize("where", ["here", "thread", "made"])
@pytest.mark.parametrize("make, free", PAIRS)
@pytest.mark.parametrize("kind", ["double", "delayed", "reused"])
def test_freed_twice(program, kind, make, free, where):
    for size in SIZES if kind == "double" else SMALL:
        if kind == "reused" and size > 5000:
            continue
        ended = Ended(program, kind, size, make, free, where)
        ended.aborted(ended.line(FREE))


@pytest.mark.parametrize("size", LARGE)
def test_large_blocks_freed_twice_later(program, size):
    ended = Ended(program, "delayed", size)
    ended.aborted(ended.line(FREE), ended.line(FREE_LARGE))


@pytest.mark.parametrize("where", ["here", "thread", "made"])
@pytest.mark.parametrize("make, free", PAIRS)
@pytest.mark.parametrize("kind", ["inside", "unaligned"])
def test_inside_a_block(program, kind, make, free, where):
    for size in SMALL:
        if kind == "inside" and size < 32:
            continue
        ended = Ended(program, kind, size, make, free, where)
        ended.aborted(ended.line(INSIDE))


@pytest.mark.parametrize("kind", ["inside", "unaligned"])
@pytest.mark.parametrize("size", LARGE)
def test_inside_a_large_block(program, size, kind):
    ended = Ended(program, kind, size)
    ended.aborted(ended.line(INSIDE, size=size))


@pytest.mark.parametrize("way", ["free", "realloc", "_ZdlPv", "_ZdaPvm"])
@pytest.mark.parametrize("kind, what", [
    ("stack", "on this thread's stack"), ("variable", "it belongs to the program's code and variables"),
    ("code", "it belongs to the program's code and variables"), ("unmapped", "no memory is there"),
    ("wild", "no memory is there"), ("odd", "it is not aligned")])
def test_no_block_at_all(program, kind, what, way):
    result = run(program("misuse"), kind, 100, way, "here")
    caller = {"free": "free()", "realloc": "realloc()", "_ZdlPv": "operator delete", "_ZdaPvm": "operator delete[]"}[way]
    what = "it is " + what if kind == "stack" else what
    assert result.stderr.splitlines()[0] == f"poolalloc: {caller}: {result.stdout.split()[1]} is no block: {what}"
    assert result.returncode == -signal.SIGABRT
    result = run(program("misuse"), kind, 100, way, "here", misuse="warn")
    assert (result.returncode, result.stdout.endswith("alive\n")) == (0, True), result


# --- Beyond the ends -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("make, free", [("malloc", "free"), ("new", "delete-sized"), ("new[]", "delete[]")])
@pytest.mark.parametrize("count", [1, 8, 32])
@pytest.mark.parametrize("size", SMALL)
def test_overflow(program, size, count, make, free):
    ended = Ended(program, "overflow", size, make, free, count=count)
    ended.aborted(ended.line(BEYOND))
    ended = Ended(program, "overflow", size, make, free, "thread", count)
    ended.aborted(ended.line(BEYOND))


@pytest.mark.parametrize("count", [1, 8, 32])
@pytest.mark.parametrize("size", [size for size in SMALL if size <= 5000])
def test_overflow_of_the_newest_block_is_found_at_the_next_malloc(program, size, count):
    ended = Ended(program, "overflow-next", size, count=count)
    ended.aborted(ended.line(BEYOND))


@pytest.mark.parametrize("size", [size for size in SMALL if block_size(size) - 8 > size])
def test_a_single_byte_anywhere_before_the_record(program, size):
    behind = block_size(size) - 8 - size
    for count in sorted({0, 1, 7, 8, behind // 2, behind - 9, behind - 8, behind - 1} & set(range(behind))):
        ended = Ended(program, "beyond", size, count=count)
        ended.aborted(ended.line(BEYOND))


@pytest.mark.parametrize("size", SMALL)
def test_overflow_by_much(program, size):
    ended = Ended(program, "overflow", size, count=1 << 20)
    if ended.result.returncode == -signal.SIGSEGV:
        ended.faulted()
    else:
        ended.aborted(ended.line(BEYOND))


@pytest.mark.parametrize("count", [1, 32])
@pytest.mark.parametrize("size", [size for size in SMALL if size <= 20000])
def test_underflow(program, size, count):
    ended = Ended(program, "underflow", size, count=count)
    ended.aborted(ended.line(NEAR))
    ended = Ended(program, "underflow-next", size, count=count)
    ended.aborted(ended.line(NEAR))


@pytest.mark.parametrize("size", LARGE)
def test_ends_of_large_blocks(program, size):
    for count in 1, 8, 32, 1 << 20:
        ended = Ended(program, "overflow", size, count=count)
        if size + count > (size + 4095) // 4096 * 4096:
            ended.faulted()
        else:
            ended.aborted(ended.line(BEYOND))
    for count in 1, 32:
        Ended(program, "underflow", size, count=count).faulted()


@pytest.mark.parametrize("size", SMALL)
def test_what_was_copied_from_behind_another_block_is_no_record(program, size):
    ended = Ended(program, "copied", size, count=block_size(size) - size)
    ended.aborted(ended.line(BEYOND))


# --- After it was freed ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", SMALL)
def test_write_to_the_block_freed_last_is_found_at_the_next_malloc(program, size):
    if size > 100:
        pytest.skip("its first 128 bytes are looked at")
    ended = Ended(program, "last", size)
    ended.aborted(ended.line(WRITTEN))


@pytest.mark.parametrize("size", [size for size in SMALL if 24 <= size <= 5000])
def test_write_after_free_is_found_later(program, size):
    ended = Ended(program, "later", size)
    first = ended.result.stderr.splitlines()[0] if ended.result.stderr else ""
    near = re.fullmatch(re.escape("poolalloc: " + NEAR).replace(r"\{target\}", "(0x[0-9a-f]+)"), first)
    ended.aborted(ended.line(WRITTEN), *([first] if near else []))


@pytest.mark.parametrize("kind", ["freed-read", "freed-write"])
@pytest.mark.parametrize("size", LARGE)
def test_freed_large_blocks_cannot_be_used(program, size, kind):
    Ended(program, kind, size).faulted()


@pytest.mark.parametrize("kind", ["read", "write", "freed-read", "freed-write"])
@pytest.mark.parametrize("make, free", PAIRS)
def test_blocks_of_no_bytes_cannot_be_used(program, kind, make, free):
    if make != "new-aligned":
        Ended(program, kind, 0, make, free).faulted()


# --- Who has made it ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("free", CALLERS)
def test_who_frees_must_suit_who_has_made(program, make, free):
    ours = MAKERS[make] in ("malloc or a relative",) and not CALLERS[free].startswith("operator") or \
        MAKERS[make].replace("new", "delete") == CALLERS[free]
    for size in 0, 100, 300000:
        for where in "here", "thread":
            ended = Ended(program, "none", size, make, free, where)
            if ours:
                ended.went_on()
                continue
            ended.aborted(ended.line(MAKER))
            ended = Ended(program, "none", size, make, free, where, misuse="warn")
            ended.went_on(ended.line(MAKER))
            Ended(program, "none", size, make, free, where, misuse="ignore").went_on()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make, free", [("malloc", "free_sized"), ("new", "delete-sized"), ("new[]", "delete[]-sized")])
def test_the_size_must_be_right(program, make, free, size):
    ended = Ended(program, "wrong", size, make, free)
    ended.aborted(ended.line(SIZE, size=size, said=size + 1))
    ended = Ended(program, "wrong", size, make, free, misuse="warn")
    ended.went_on(ended.line(SIZE, size=size, said=size + 1))


# --- And the program goes on ---------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, size, what, count", [
    ("double", 100, FREE, 0), ("double", 0, FREE, 0), ("double", 300000, FREE, 0), ("delayed", 100, FREE, 0),
    ("overflow", 100, BEYOND, 1), ("overflow", 100, BEYOND, 32), ("overflow", 300001, BEYOND, 1),
    ("underflow", 100, NEAR, 1), ("overflow-next", 100, BEYOND, 8), ("last", 100, WRITTEN, 0)])
def test_warn_and_the_program_goes_on(program, kind, size, what, count):
    ended = Ended(program, kind, size, count=count, misuse="warn")
    ended.went_on(ended.line(what))
    Ended(program, kind, size, count=count, misuse="ignore").went_on()


# --- Who does nothing wrong ----------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [{}, {"purge": "eager"}], ids=["", "eager"])
@pytest.mark.parametrize("case", ["handed", "forked", "aligned", "moved", "cleared", "exact", "ends", "nothing",
                                  "operators", "handler", "grown", "shrunk", "mappings", "space", "counted", "dense",
                                  "ended"])
def test_who_does_nothing_wrong_is_not_accused(program, case, options):
    result = run(program("hardened_legal"), case, foreign="abort", timeout=120, **options)
    assert (result.returncode, result.stdout, result.stderr) == (0, "alive\n", "")


@pytest.mark.parametrize("case", ["links", "handed", "moved", "aligned", "counted", "forked", "handler"])
def test_what_looks_like_misuse_is_none(program, case):
    result = run(program("legal"), case, foreign="abort", timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "alive\n", "")


@pytest.mark.parametrize("runtime", ["own", "shared"])
def test_a_program_with_its_own_runtime_exchanges_objects(tmp_path, runtime):
    source = HERE / "private_runtime.cc"
    plugin = tmp_path / "plugin.so"
    subprocess.run(["c++", "-O0", "-DPLUGIN", "-shared", "-fPIC", source, "-o", plugin], check=True)
    flags = ["-static-libstdc++"] if runtime == "own" else []
    subprocess.run(["c++", "-O0", source, *flags, "-ldl", "-o", tmp_path / "main"], check=True)
    needed = subprocess.run(["readelf", "-d", tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    assert ("libstdc++" in needed) == (runtime == "shared")
    result = run(tmp_path / "main", plugin, foreign="abort")
    assert (result.returncode, result.stdout, result.stderr) == (0, "alive\n", "")


@pytest.mark.parametrize("options", [{}, {"purge": "eager"}], ids=["", "eager"])
@pytest.mark.parametrize("seed", [1, 2])
def test_stress(seed, options):
    build = os.environ.get("POOLALLOC_DEATH_PROGRAMS")
    if not build:
        pytest.skip("needs the stress program")
    result = run(pathlib.Path(build) / "stress", 3, 4, seed, "--fork", foreign="abort", timeout=120, **options)
    assert (result.returncode, result.stderr) == (0, ""), result


@pytest.mark.parametrize("size, late", [(8, 32), (40, 32), (200, 32), (1000, 8), (3000, 2), (8000, 2)])
def test_a_freed_block_comes_back_late_and_nobody_knows_when(program, size, late):
    result = run(program("late"), size)
    least, most, kinds = map(int, result.stdout.split())
    assert least >= late and most < 5000 and kinds >= 5, result


def test_threads_that_never_allocate_leave_nothing_behind(program):
    first, second = map(int, run(program("detached"), 2000, 8000).stdout.split())
    assert second - first < 2048, "8000 threads have taken so many KiB"


def test_a_block_that_stays_for_want_of_memory_has_the_size_that_was_asked_for(program):
    result = run(program("shrunk"))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
