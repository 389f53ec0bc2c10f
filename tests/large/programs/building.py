"""What makes programs: cargo and rustc, gcc with link-time optimisation, and git.

Always holds: sources are generated; what is built is run, and is the same in each run, byte by byte.
"""
import re

from harness.job import DATA, digest
from harness.registry import check, program

CRATES = 4
FUNCTIONS = 40
UNITS = 40
COMMITS = 1500


def filled(name, **values):
    """The text of a file in data/, with its @NAME@s replaced."""
    text = (DATA / name).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def crate_source(number):
    """A library of generic functions and types, and its tests; each crate uses the one before."""
    steps, tests = zip(*(filled("step.rs", I=i).split("#[test]\n") for i in range(FUNCTIONS)))
    calls = (f"    sum = sum.wrapping_mul(31).wrapping_add(step{i}(&items, n)) % 1_000_003;" for i in range(FUNCTIONS))
    return filled("crate.rs", STEPS="\n".join(steps), CALLS="\n".join(calls),
                  TESTS="".join("#[test]\n" + test for test in tests),
                  BEFORE=f"use part{number - 1}::total as before;" if number else "fn before(n: u64) -> u64 { n % 7 }")


def write_workspace(job):
    root = job.input / "workspace"
    members = [f"part{number}" for number in range(CRATES)] + ["app"]
    for number, name in enumerate(members):
        (root / name / "src").mkdir(parents=True)
        before = f'part{number - 1} = {{ path = "../part{number - 1}" }}\n' if number else ""
        (root / name / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{before}')
        if name != "app":
            (root / name / "src/lib.rs").write_text(crate_source(number))
    (root / "app/src/main.rs").write_text(filled("app.rs", LAST=members[-2]))
    listed = ", ".join(f'"{name}"' for name in members)
    (root / "Cargo.toml").write_text(f'[workspace]\nresolver = "2"\nmembers = [{listed}]\n[profile.release]\nlto = "thin"\n')


@program("cargo", serves={"cargo": 1000, "rustc": 50000, "app": 1}, prepare=write_workspace)
def cargo(job):
    """builds a workspace of five crates with and without optimisation, tests it and runs it, without a network"""
    job.run("cp", "-r", job.input / "workspace", "workspace")
    options = {"cwd": job.folder / "workspace", "env": {"CARGO_NET_OFFLINE": "true", "CARGO_INCREMENTAL": "0"}}
    shown = job.run("cargo", "test", "--offline", "--quiet", "--workspace", **options).text
    passed = [int(count) for count in re.findall(r"test result: ok\. (\d+) passed; 0 failed", shown)]
    check(sum(passed) == CRATES * FUNCTIONS, f"{sum(passed)} tests of {CRATES * FUNCTIONS} have passed")
    job.run("cargo", "build", "--offline", "--release", **options)
    app = job.folder / "workspace/target/release/app"
    sums = job.run(app).text
    check(re.fullmatch(r"(\d+ ){7}\d+\n", sums), f"the program says {sums}")
    return [sums, digest(app)]


def unit_source(number):
    steps = []
    for i in range(40):
        cases = "".join(f"  case {k}: x = x * {k + i + 3}u + t[(x + {k}) % 64]; break;\n" for k in range(9))
        steps.append(f"static unsigned step{i}(unsigned x, const unsigned* t) {{\n  switch (x % 9) {{\n{cases}  }}\n"
                     f"  for (unsigned k = 0; k < 6; k++) x ^= t[(x + k) % 64] >> (k + {i % 3});\n  return x;\n}}")
    return filled("unit.c", NAME=f"unit{number}", NEXT=f"unit{number + 1}" if number + 1 < UNITS else "last",
                  STEPS="\n".join(steps), CALLS="\n".join(f"  x = step{i}(x, table);" for i in range(40)))


def write_units(job):
    for number in range(UNITS):
        (job.input / f"unit{number}.c").write_text(unit_source(number))
    (job.input / "main.c").write_text(filled("unit_main.c"))
    # What the program must say, without link-time optimisation.
    job.run("gcc", "-O0", "-o", job.input / "plain", *sorted(job.input.glob("*.c")))


@program("gcc-lto", serves={"cc1": 1000, "lto1": 20000}, prepare=write_units)
def gcc_lto(job):
    """compiles forty generated files for link-time optimisation, and links them in several processes"""
    sources = sorted(job.input.glob("*.c"))
    for source in sources:
        job.run("gcc", "-O2", "-g", "-flto", "-c", source, "-o", source.stem + ".o")
    job.run("gcc", "-O2", "-g", "-flto=4", "-flto-partition=balanced", "-frandom-seed=7", "-o", "linked",
            *[source.stem + ".o" for source in sources])
    said = job.run("./linked").text
    check(said == job.run(job.input / "plain").text, f"the linked program says {said}")
    job.run("objcopy", "--strip-all", "linked", "stripped")
    return [said, digest(job.folder / "stripped")]


def history():
    """A repository as `git fast-import` reads it: files that change a little from commit to commit, and a few merges."""
    yield "feature done\n"
    for commit in range(1, COMMITS + 1):
        yield (f"commit refs/heads/main\nmark :{commit}\ncommitter A <a@example.org> {1000000000 + commit * 60} +0000\n"
               f"data <<E\ncommit {commit}\nE\n")
        if commit > 1:
            yield f"from :{commit - 1}\n"
            if commit % 50 == 0:
                yield f"merge :{commit - 20}\n"
        for k in range(4):
            file = (commit * 7 + k * 131) % 400
            lines = "".join(f"line {n} of file {file}, last changed by {commit - commit * n % 37}\n"
                            for n in range(60 + file % 200))
            yield f"M 100644 inline folder{file % 20}/file{file}.txt\ndata {len(lines)}\n{lines}\n"
    yield "done\n"


@program("git", serves={"git": 20000})
def git(job):
    """imports a history, packs it anew on two threads, clones, checks and searches it"""
    config = {"env": {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "pack.threads", "GIT_CONFIG_VALUE_0": "2",
                      "GIT_CONFIG_NOSYSTEM": "1"}}
    job.run("git", "init", "--quiet", "--bare", "--initial-branch=main", "whole.git", **config)
    inside = {"cwd": job.folder / "whole.git", **config}
    job.run("git", "fast-import", "--quiet", "--depth=5", text="".join(history()), **inside)
    job.run("git", "gc", "--quiet", "--aggressive", "--prune=now", **inside)
    job.run("git", "fsck", "--full", "--strict", **inside)
    job.run("git", "clone", "--quiet", "--no-local", "whole.git", "copy", **config)
    count = job.run("git", "rev-list", "--all", "--count", **inside).text
    check(int(count) == COMMITS, f"{count.strip()} commits of {COMMITS}")
    copy = {"cwd": job.folder / "copy", **config}
    check(job.run("git", "status", "--porcelain", **copy).text == "", "the copy differs from its last commit")
    searches = (["rev-parse", "HEAD"], ["log", "--oneline", "--stat", "-n", "300", "-S", "by 100"],
                ["blame", "-w", "-C", "folder3/file3.txt"])
    return [job.run("git", *words, **copy).text for words in searches]
