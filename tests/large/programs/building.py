"""What makes programs: cargo and rustc, gcc with link-time optimisation, and git.

Always holds: sources are generated; what is built is run, and is the same in each run, byte by byte.
"""
import re

from harness.job import digest
from harness.registry import check, program

CRATES = 5
FUNCTIONS = 60
UNITS = 40
COMMITS = 1500


def crate_source(number):
    """A library of generic functions and types, and its tests; each crate uses the one before."""
    before = f"use part{number - 1}::total as before;\n" if number else "fn before(n: u64) -> u64 { n % 7 }\n"
    parts = [before, "use std::collections::{BTreeMap, HashMap};\n",
             "#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]\npub struct Item { pub name: String, pub values: Vec<u64> }\n"]
    for i in range(FUNCTIONS):
        parts.append(f"""
pub fn step{i}<T: Into<u64> + Copy>(items: &[T], n: u64) -> u64 {{
    let mut map: HashMap<u64, Vec<Item>> = HashMap::new();
    for (k, x) in items.iter().enumerate() {{
        let value: u64 = (*x).into() * {i + 3} + n;
        map.entry(value % 13).or_default().push(Item {{ name: format!("{{}}-{{}}", k, value), values: vec![value; k % 5] }});
    }}
    let sorted: BTreeMap<_, _> = map.into_iter().collect();
    sorted.iter().map(|(key, list)| key * list.iter().map(|each| each.values.iter().sum::<u64>() + each.name.len() as u64).sum::<u64>()).sum()
}}
""")
    parts.append("pub fn total(n: u64) -> u64 {\n    let items: Vec<u32> = (0..50).collect();\n    let mut sum = before(n);\n" +
                 "".join(f"    sum = sum.wrapping_mul(31).wrapping_add(step{i}(&items, n)) % 1_000_003;\n" for i in range(FUNCTIONS)) +
                 "    sum\n}\n#[cfg(test)]\nmod tests {\n    use super::*;\n" +
                 "".join(f"    #[test]\n    fn step{i}_grows() {{ assert!(step{i}(&[1u32, 2, 3], 5) < step{i}(&[1u32, 2, 300], 50)); }}\n"
                         for i in range(FUNCTIONS)) + "}\n")
    return "".join(parts)


def write_workspace(job):
    root = job.input / "workspace"
    members = [f"part{number}" for number in range(CRATES)] + ["app"]
    for number, name in enumerate(members):
        (root / name / "src").mkdir(parents=True)
        before = f'part{number - 1} = {{ path = "../part{number - 1}" }}\n' if number else ""
        (root / name / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{before}')
        if name != "app":
            (root / name / "src/lib.rs").write_text(crate_source(number))
    (root / "app/src/main.rs").write_text(
        "use std::thread;\nfn main() {\n    let all: Vec<_> = (0..8u64).map(|n| thread::spawn(move || "
        f"part{CRATES - 1}::total(n))).collect();\n"
        '    let sums: Vec<String> = all.into_iter().map(|each| each.join().unwrap().to_string()).collect();\n    println!("{}", sums.join(" "));\n}\n')
    (root / "Cargo.toml").write_text(f"[workspace]\nresolver = \"2\"\nmembers = {members}\n[profile.release]\nlto = \"thin\"\n".replace("'", '"'))


@program("cargo", serves={"cargo": 5000, "rustc": 50000, "app": 1}, prepare=write_workspace)
def cargo(job):
    """builds a workspace of six crates with and without optimisation, tests it and runs it, without a network"""
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
    calls = f"unit{number + 1}" if number + 1 < UNITS else "last"
    functions = "".join(
        f"static unsigned step{i}(unsigned x, const unsigned *t) {{\n  switch (x % 9) {{\n" +
        "".join(f"  case {k}: x = x * {k + i + 3}u + t[(x + {k}) % 64]; break;\n" for k in range(9)) +
        f"  }}\n  for (unsigned k = 0; k < 6; k++) x ^= t[(x + k) % 64] >> (k + {i % 3});\n  return x;\n}}\n" for i in range(40))
    body = "".join(f"  x = step{i}(x, table);\n" for i in range(40))
    return (f"unsigned {calls}(unsigned, const unsigned *);\n{functions}unsigned unit{number}(unsigned x, const unsigned *table) "
            f"{{\n{body}  return {calls}(x, table);\n}}\n")


def write_units(job):
    for number in range(UNITS):
        (job.input / f"unit{number}.c").write_text(unit_source(number))
    (job.input / "main.c").write_text(
        "#include <stdio.h>\nunsigned unit0(unsigned, const unsigned *);\nunsigned last(unsigned x, const unsigned *t) { return x ^ t[0]; }\n"
        "int main(void) {\n  unsigned table[64], x = 1;\n  for (unsigned i = 0; i < 64; i++) table[i] = i * 2654435761u;\n"
        '  for (int i = 0; i < 1000; i++) x = unit0(x, table);\n  printf("%u\\n", x);\n}\n')
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
            lines = "".join(f"line {n} of file {file}, last changed by {commit - commit * n % 37}\n" for n in range(60 + file % 200))
            yield f"M 100644 inline folder{file % 20}/file{file}.txt\ndata {len(lines)}\n{lines}\n"
    yield "done\n"


@program("git", serves={"git": 20000})
def git(job):
    """imports a history, packs it anew on two threads, clones, checks and searches it"""
    config = {"env": {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "pack.threads", "GIT_CONFIG_VALUE_0": "2", "GIT_CONFIG_NOSYSTEM": "1"}}
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
    return [job.run("git", "rev-parse", "HEAD", **copy).text, job.run("git", "log", "--oneline", "--stat", "-n", "300", "-S", "by 100", **copy).text,
            job.run("git", "blame", "-w", "-C", "folder3/file3.txt", **copy).text]
