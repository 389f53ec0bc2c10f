"""A machine of its own, for what a test must not change where it runs: the kernel's rules about memory.

What always holds: the machine is started once, by QEMU, with Debian's kernel and no disk; its first program runs the cases
one after the other, and writes to the console how each ended and what it said. What is compared is what programs say with
and without the library.
"""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = pathlib.Path(os.environ["POOLALLOC_LIB"])
SOURCES = ROOT / "tests/compat/src"
PROGRAMS = ["bash", "mawk", "perl", "sort", "sqlite3", "xz"]
PRELOADED = "/lib/libpoolalloc.so"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.uname().machine != "x86_64", reason="the machine is an x86-64 one")]

COMMANDS = {
    "bash": "/programs/bash -c 'for i in {1..20000}; do a[i]=item$i; done; echo ${#a[@]} $(echo child)'",
    "mawk": "/programs/mawk 'BEGIN { for (i = 0; i < 50000; i++) n[i % 5000] = n[i % 5000] i; print length(n[77]) }'",
    "perl": "/programs/perl -e 'my %h = map { $_ => \"v\" x ($_ % 90) } 1 .. 20000; print scalar(keys %h), \"\\n\"; exit 3'",
    "sort": "seq 1 60000 | /programs/sort -S 4M -T / -r | /programs/sort -n --parallel=2 -S 4M -T / | md5sum",
    "sqlite3": "/programs/sqlite3 :memory: 'with recursive c(x) as (select 1 union all select x + 1 from c where x < 50000) "
               "select count(distinct x % 777), group_concat(x) is null from c'",
    "xz": "seq 1 100000 | /programs/xz -1 -T2 | /programs/xz -d | md5sum",
}
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ LC_ALL=C
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t cgroup2 group /sys/fs/cgroup
echo 1 > /proc/sys/kernel/printk
ulimit -c 0
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
# case_ NAME COMMAND: what the command said and its status, each line with the case's name. Not by a file: where no memory is
# left, there is none for files.
case_() {
  name=$1; shift
  { sh -c "$*" 2>&1 < /dev/null; echo "= $?"; } | while read -r line; do echo "@$name: $line"; done
}
under() { name=$1; shift; case_ "$name" "export LD_PRELOAD=%(library)s; $*"; }
%(cases)s
echo "@all: = 0"
poweroff -f
"""
STRICT = """
committed=$(/programs/mawk '/^Committed_AS/ { print $2 }' /proc/meminfo)
echo 2 > /proc/sys/vm/overcommit_memory
echo $((committed + %d * 1024)) > /proc/sys/vm/overcommit_kbytes
"""
GROUP = """
mkdir /sys/fs/cgroup/g; echo 256M > /sys/fs/cgroup/g/memory.max
cd /sys/fs/cgroup/g
%s
case_ group-killed "/programs/mawk '/^oom_kill / { print \\$2 }' memory.events"
under group-unlimited "echo \\$\\$ > cgroup.procs; exec /programs/saw_tooth 180 1 1000"
case_ group-killed-then "/programs/mawk '/^oom_kill / { print \\$2 }' memory.events"
"""


def cases():
    lines = [STRICT % 96, "case_ limit 'cat /proc/sys/vm/overcommit_memory'"]
    for name, command in COMMANDS.items():
        lines += [f"case_ plain-{name} {quoted(command)}", f"under strict-{name} {quoted(command)}"]
    lines += ["under strict-churn /programs/churn 4 5000", "under strict-full /programs/saw_tooth 20 12 1000",
              "case_ plain-full /programs/saw_tooth 20 12 1000", "echo 0 > /proc/sys/vm/overcommit_memory"]
    enter = "echo $$ > cgroup.procs; exec"
    saws = [f"under group-{purge} 'export POOLALLOC_PURGE={purge}; {enter} /programs/saw_tooth 200 48 20'"
            for purge in ("on", "eager")]
    saws += [f"under group-limit-{limit} 'export POOLALLOC_LIMIT=:{limit}; {enter} /programs/saw_tooth 180 12 1000'"
             for limit in ("90%", "240M")]
    return "\n".join([*lines, GROUP % "\n".join(saws)])


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def copy_with_libraries(root, source, target):
    (root / target.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, root / target.lstrip("/"))
    listing = subprocess.run(["ldd", source], capture_output=True, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", listing):
        copy = root / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, copy)


def make_root(root):
    for name in "bin", "lib", "lib64", "proc", "dev", "sys", "tmp":
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    for name in PROGRAMS:
        copy_with_libraries(root, shutil.which(name, path="/usr/bin:/bin"), f"/programs/{name}")
    for name in "saw_tooth", "churn":
        program = root.parent / name
        subprocess.run(["gcc", "-O1", "-fno-builtin", "-pthread", f"-I{SOURCES}", SOURCES / f"{name}.c", "-o", program],
                       check=True)
        copy_with_libraries(root, program, f"/programs/{name}")
    copy_with_libraries(root, LIBRARY, PRELOADED)
    (root / "init").write_text(INIT % {"library": PRELOADED, "cases": cases()})
    (root / "init").chmod(0o755)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """{case: (status, lines)} of all cases, from one life of the machine."""
    folder = tmp_path_factory.mktemp("machine")
    make_root(folder / "root")
    subprocess.run("cd root && find . | cpio -o -H newc --quiet | gzip -1 > ../root.gz", shell=True, cwd=folder, check=True)
    kernel = sorted(pathlib.Path("/boot").glob("vmlinuz-*-cloud-amd64"))[-1]
    # Not by KVM: not every host that has it runs every processor's model.
    console = subprocess.run(
        ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "768", "-kernel", kernel,
         "-initrd", "root.gz", "-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none",
         "-append", "console=ttyS0 quiet panic=-1"],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=900)
    text = console.stdout.decode(errors="replace").replace("\r", "")
    assert "@all: = 0" in text, text[-4000:] + console.stderr.decode()
    found = {}
    for name, line in re.findall(r"^@([\w%-]+): (.*)$", text, re.M):
        found.setdefault(name, []).append(line)
    return {name: (int(lines[-1].removeprefix("= ")), lines[:-1]) for name, lines in found.items()}


def test_the_rule_is_in_force(ended):
    # COMPAT 53: the limit is one that glibc reaches, too
    assert ended["limit"] == (0, ["2"])
    status, (line,) = ended["plain-full"]
    assert status == 0 and line.endswith(" 12") and int(line.split()[0]) < 96


@pytest.mark.parametrize("name", COMMANDS)
def test_programs_where_nothing_is_overcommitted(ended, name):
    # COMPAT 53
    assert ended[f"strict-{name}"] == ended[f"plain-{name}"]
    assert ended[f"plain-{name}"][1]


def test_threads_where_nothing_is_overcommitted(ended):
    # COMPAT 53
    assert ended["strict-churn"] == (0, ["4 threads made 20000 blocks"])


def test_what_is_left_can_be_used_where_nothing_is_overcommitted(ended):
    # COMPAT 53: all but some MiB, and refused like any other request
    ended_with = {name: ended[name] for name in ("strict-full", "plain-full")}
    (had, error), (had_without, _) = (map(int, lines[0].split()) for _, lines in ended_with.values())
    assert ended["strict-full"][0] == 0 and error == 12 and had >= had_without - 20, ended_with


@pytest.mark.parametrize("purge", ["on", "eager"])
def test_a_saw_tooth_in_a_group(ended, purge):
    # COMPAT 56: in a group of version 2
    assert ended[f"group-{purge}"] == (0, ["20 0"])


@pytest.mark.parametrize("limit", ["90%", "240M"])
def test_a_limit_in_a_group(ended, limit):
    # COMPAT 56
    status, (line,) = ended[f"group-limit-{limit}"]
    had, error = map(int, line.split())
    assert status == 0 and error == 12 and 190 <= had <= 240


def test_nobody_was_ended_but_who_has_no_limit(ended):
    # COMPAT 56
    assert ended["group-killed"] == (0, ["0"])
    assert ended["group-unlimited"][0] == 137 and ended["group-killed-then"] == (0, ["1"])
