"""Programs that lock themselves in, and programs in a sandbox (COMPAT 59).

What always holds: what runs in a sandbox without the library runs in it with the library; nobody is killed for a system
call of the library's.
"""
import errno
import os
import pathlib
import pwd
import re
import subprocess

import pytest

SYSTEMD = [["calendar", "--iterations=3", "--base-time=2020-01-01", "Mon..Fri"], ["timespan", "3h5m"],
           ["timestamp", "2020-01-01 UTC"], ["syscall-filter", "@memlock"], ["unit-paths"],
           ["condition", "ConditionKernelVersion=>3.0"]]
WORK = ["bash", "-c", "for i in {1..20000}; do a[i]=item$i; done; echo ${#a[@]};"
                      "seq 50000 | sort -S 3M -T . --parallel=2 | md5sum"]
THREADS = ["xz", "-T2", "-0", "-c", "/usr/bin/bash"]


def test_file_and_tar(programs):
    # COMPAT 59
    assert "ELF 64-bit" in programs.same(["file", "-L", "/bin/ls", "/etc/passwd", "/usr/bin"]).out
    script = "seq 20000 > f; tar -czf a.tgz f; tar -xzOf a.tgz | md5sum; tar -tf a.tgz"
    assert "f\n" in programs.same(["bash", "-c", script]).out


def test_man_formats_a_page(programs):
    # COMPAT 59: each program that formats it has a filter of system calls
    page = programs.tmp / "page.1"
    page.write_text(".TH PAGE 1\n.SH NAME\npage \\- a page\n" +
                    "".join(f".TP\n\\fB\\-\\-flag{n}\\fR\ndo {n}\n" for n in range(300)))
    assert "--flag299" in programs.same(["man", "-l", page], env={"MANPAGER": "cat", "MANWIDTH": "80"}).out


@pytest.mark.parametrize("words", SYSTEMD, ids=lambda words: words[0])
def test_systemd_analyze(programs, words):
    # COMPAT 59, 68: systemd asks malloc_usable_size for what it may use of a block
    def clean(text):
        return re.sub(r"From now: .*", "From now", text)
    result = programs.same(["systemd-analyze", *words], clean=clean)
    assert result.out or result.err


@pytest.fixture(scope="module")
def bubble():
    """bubble(words): the words of a command in a new root, without the network, that sees no other process."""
    base = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "--die-with-parent"]
    if subprocess.run([*base, "true"], capture_output=True).returncode != 0:
        pytest.skip("no namespaces can be made here")
    return base


REFUSED = ["mbind", "set_mempolicy", "move_pages", "migrate_pages", "get_mempolicy", "perf_event_open", "bpf", "ptrace",
           "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "keyctl", "add_key", "userfaultfd",
           "personality", "membarrier", "rseq", "unshare", "mount", "mlock", "mlockall", "mlock2"]
DEADLY = ["pkey_alloc", "pkey_mprotect", "memfd_create", "mincore", "sched_setscheduler", "shmget"]


def write_filter(path, kind):
    """Writes a filter of system calls, as bwrap wants it. Containers refuse calls that tell of others; browsers kill their
    renderers of pages also for mappings that are not of the plain kinds, and refuse advice that is not."""
    import seccomp  # A package of its own, which is installed after this file was read.
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for call in REFUSED:
        rules.add_rule(seccomp.ERRNO(errno.EPERM), call)
    if kind == "browsers":
        for flag in (0x40000, 0x2000, 0x8000):  # MAP_HUGETLB, MAP_LOCKED, MAP_POPULATE
            rules.add_rule(seccomp.KILL_PROCESS, "mmap", seccomp.Arg(3, seccomp.MASKED_EQ, flag, flag))
        rules.add_rule(seccomp.KILL_PROCESS, "mprotect", seccomp.Arg(2, seccomp.GT, 7))
        for advice in range(10, 26):  # all but those of POSIX, MADV_FREE and MADV_REMOVE
            rules.add_rule(seccomp.ERRNO(errno.EPERM), "madvise", seccomp.Arg(2, seccomp.EQ, advice))
        for call in DEADLY:
            rules.add_rule(seccomp.KILL_PROCESS, call)
    with open(path, "wb") as file:
        rules.export_bpf(file)


def in_filter(path, bubble, *words):
    return ["bash", "-c", 'exec 9<"$1"; shift; exec "$@"', "bash", path, *bubble, "--seccomp", "9", *words]


@pytest.mark.parametrize("words", [WORK, THREADS], ids=["bash", "xz"])
@pytest.mark.parametrize("kind", ["no filter", "containers", "browsers"])
def test_in_a_bubble(programs, bubble, tmp_path, kind, words):
    # COMPAT 59
    outer = [*bubble, "--bind", programs.tmp, programs.tmp, "--chdir", programs.tmp / "work"]
    command = [*outer, *words]
    if kind != "no filter":
        write_filter(tmp_path / "filter", kind)
        command = in_filter(tmp_path / "filter", outer, *words)
    assert programs.same(command).out


def test_a_filter_kills(programs, bubble, tmp_path):
    """Who makes a mapping that is present at once."""
    write_filter(tmp_path / "filter", "browsers")
    words = ["python3", "-c", "import mmap; mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x8000)"]
    assert programs.run(in_filter(tmp_path / "filter", bubble, *words), status=None).status == 128 + 31


SSHD = """
ListenAddress 127.0.0.1:%(port)d
HostKey %(dir)s/host
AuthorizedKeysFile %(dir)s/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
Subsystem sftp internal-sftp
"""


@pytest.mark.skipif(os.getuid() != 0, reason="sshd that serves others needs root")
def test_sshd_lets_in_and_refuses(programs, short_dir, free_port, wait_until):
    # COMPAT 59: before it knows who calls, the process that speaks to him is in a sandbox that kills for other system calls
    port = free_port()
    pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in "host", "user", "stranger":
        programs.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", short_dir / name])
    (short_dir / "conf").write_text(SSHD % {"port": port, "dir": short_dir})
    log = short_dir / "log"
    server = programs.popen(["/usr/sbin/sshd", "-D", "-E", log, "-f", short_dir / "conf"])
    wait_until(lambda: log.exists() and "listening" in log.read_text(), "sshd to listen")
    programs.assert_mapped(server.pid)

    def ssh(name, *words, **options):
        return programs.run(["ssh", "-F", "none", "-i", short_dir / name, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
                             "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={short_dir}/known", "-p", port,
                             f"{pwd.getpwuid(0).pw_name}@127.0.0.1", *words], **options)
    for _ in range(5):
        assert ssh("user", "echo $((6 * 7)); exit 3", status=3).out == "42\n"
    assert ssh("user", "md5sum", stdin="x" * 3000000).out.startswith(programs.run(["md5sum"], stdin="x" * 3000000).out[:32])
    assert "Permission denied" in ssh("stranger", "true", status=255).err
    server.terminate()
    server.wait(20)
    assert "Accepted publickey" in log.read_text() and "preauth] fatal" not in log.read_text()
