"""A small root directory whose /etc/ld.so.preload names the library.

The root is made of copies of the machine's bash, coreutils, apt, su, man, ssh
and of what they load. With the file the library enters every process, set-user-ID
programs as well, which ignore LD_PRELOAD. What always holds: each command in
the root prints and exits the same with the file as without it.
"""

import glob
import os
import pathlib
import re
import shutil
import subprocess

import pytest

PRELOAD_PATH = "/usr/local/lib/libpoolalloc.so"

COMMANDS = ["bash", "ls", "cat", "id", "env", "rm", "sort", "sleep", "sed", "col", "gzip", "locale",
            "apt-get", "apt-cache", "dpkg", "su", "ssh", "ssh-keygen",
            "man", "groff", "troff", "nroff", "grotty", "tbl", "eqn", "preconv", "soelim"]

# The commands that are looked for with a message about their package.
NEEDED = {"bash", "ls", "apt-get", "su", "man", "ssh", "groff", "gzip"}

COPIES = ["/etc/apt/apt.conf.d", "/usr/share/dpkg", "/etc/pam.d", "/etc/security", "/etc/login.defs",
          "/etc/manpath.config", "/usr/lib/man-db", "/etc/groff", "/usr/share/groff", "/etc/ssl/openssl.cnf",
          "/usr/lib/locale/C.utf8", "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules*"]

DIRECTORIES = ["root", "tmp", "dev", "proc", "run", "var/tmp", "var/cache/man", "var/log/apt",
               "var/cache/apt/archives/partial", "var/lib/apt/lists/partial",
               "etc/apt/preferences.d", "etc/apt/sources.list.d"]

TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/bash\nman:x:6:12:man:/:/bin/sh\n"
                  "_apt:x:100:65534::/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\nman:x:12:\n",
    "etc/shadow": "root:!:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\n",
    "etc/ssh/ssh_config": "Host short\n  HostName long.example.org\n  Port 2222\n  User someone\n",
    "var/lib/dpkg/status": "".join(
        f"Package: thing{n}\nStatus: install ok installed\nMaintainer: a <a@example.org>\nArchitecture: all\nVersion: {n}.0\n"
        f"Depends: thing{n // 2}\nDescription: thing {n}\n\n" for n in range(2000)),
    "etc/environment": "",
    "etc/ld.so.conf": "/usr/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu\n",
}

PAGE = ".TH LS 1\n.SH NAME\nls \\- list directory contents\n" + "".join(
    f".TP\n\\fB\\-\\-flag{n}\\fR\ndo {n}\n" for n in range(400))


def merged(path):
    """The name of a path in a root where /bin and /lib lie in /usr."""
    return re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", str(path)).lstrip("/")


def copy_file(root, path):
    """Copy one file, or what a link leads to."""
    target = root / merged(path)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(path), target)  # keeps the mode without set-user-ID bits


def copy_program(root, path):
    """Copy a program or shared object with everything that it loads."""
    copy_file(root, path)
    copy_loaded(root, path)


def copy_loaded(root, path):
    """Copy the shared objects that a program or shared object loads."""
    listing = subprocess.run(["ldd", path], capture_output=True, text=True, timeout=20).stdout
    for loaded in re.findall(r"(/\S+) \(0x", listing):
        copy_file(root, loaded)


def make_root(root, find_program, library):
    for name in "bin", "sbin", "lib", "lib64":
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for pattern in COPIES:
        for path in glob.glob(pattern):
            target = root / merged(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if os.path.isdir(path) else shutil.copy2)(path, target)
    for name in COMMANDS:
        copy_program(root, find_program(name) if name in NEEDED else "/usr/bin/" + name)
    find_program("/usr/lib/x86_64-linux-gnu/security/pam_rootok.so")
    for path in glob.glob("/usr/lib/x86_64-linux-gnu/security/*.so") + glob.glob("/usr/lib/man-db/*"):
        copy_program(root, path)
    copy_file(root, "/sbin/ldconfig")
    (root / "usr/bin/sh").symlink_to("bash")
    for name, text in TEXTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    edit(root / "etc/pam.d/common-auth", "pam_unix.so", "pam_unix.so nodelay")
    edit(root / "etc/login.defs", "\nFAIL_DELAY", "\n#FAIL_DELAY")
    (root / "etc/shadow").chmod(0o600)
    (root / "usr/bin/su").chmod(0o4755)
    page = root / "usr/share/man/man1/ls.1"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE)
    subprocess.run(["gzip", page], check=True, timeout=20)
    copy_loaded(root, library)
    preloaded = root / PRELOAD_PATH.lstrip("/")
    preloaded.parent.mkdir(parents=True)
    shutil.copy(library, preloaded)
    preloaded.chmod(0o755)
    make_null(root / "dev/null")
    root.chmod(0o755)


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def make_null(path):
    try:
        os.mknod(path, 0o20666, os.makedev(1, 3))
        path.chmod(0o666)
        path.write_text("")
    except PermissionError:  # where devices cannot be made an ordinary file will do
        path.unlink(missing_ok=True)
        path.touch(0o666)


@pytest.fixture(scope="module")
def root(tmp_path_factory, find_program, library):
    if os.getuid() != 0:
        pytest.skip("chroot needs the rights of root")
    path = tmp_path_factory.mktemp("small") / "root"
    path.mkdir()
    make_root(path, find_program, library)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def in_root(programs, root, assert_same):
    """Run a command in the root without and with /etc/ld.so.preload."""
    def both(*argv, user="root", **kw):
        chroot = ["chroot", *([] if user == "root" else [f"--userspec={user}:nogroup"]), root, *argv]
        results = []
        for text in None, PRELOAD_PATH + "\n":
            preload_file(root).unlink(missing_ok=True)
            if text:
                preload_file(root).write_text(text)
            results.append(programs.run(chroot, preload=False, env={"HOME": "/root", "TMPDIR": "/tmp", "MANPAGER": "cat",
                                                                   "MANWIDTH": "80"}, status=None, **kw))
        assert_same(*results)
        return results[1]
    return both


def preload_file(root):
    return root / "etc/ld.so.preload"


def test_the_file_maps_the_library(programs, root, wait_until):
    preload_file(root).write_text(PRELOAD_PATH + "\n")
    proc = programs.popen(["chroot", root, "bash", "-c", "sleep 30 & sleep 30; wait"], preload=False)
    wait_until(lambda: len(programs.children(proc.pid)) == 2, "both children")
    for pid in [proc.pid, *programs.children(proc.pid)]:
        wait_until(lambda: PRELOAD_PATH in pathlib.Path(f"/proc/{pid}/maps").read_text(), f"the library in {pid}")


def test_bash_runs_in_the_root(in_root):
    result = in_root("bash", "-c", "for i in {1..3000}; do a[i]=$((i * i)); done; echo ${#a[@]} ${a[77]};"
                                   "for i in {1..30}; do (ls -l /usr/bin | sort -k9 | cat) >/dev/null; done; echo $?; exit 3")
    assert result.status == 3 and "5929" in result.out


def test_ls_runs_in_the_root(in_root):
    assert "usr" in in_root("ls", "-laR", "--time-style=+%s", "/usr", "/bin").out


def test_apt_get_runs_in_the_root(in_root):
    assert in_root("apt-get", "--version").out.startswith("apt ")
    assert in_root("apt-get", "check").status == 0
    assert in_root("apt-get", "-s", "remove", "thing7").out.count("Remv") > 3
    assert "thing1999" in in_root("apt-cache", "search", "thing").out


def test_su_runs_in_the_root(in_root):
    assert in_root("su", "--version").status == 0
    assert in_root("su", "-c", "true", "root").status == 0
    result = in_root("su", "-c", "id -u; id -gn; exit 9", "nobody")
    assert result.out == "65534\nnogroup\n" and result.status == 9
    assert in_root("su", "-", "nobody", "-c", "env | sort; echo $HOME").out.endswith("\n/\n")
    assert in_root("su", "-c", "true", "absent").status == 1


def test_su_of_another_user_is_refused_the_same(in_root):
    result = in_root("su", "-c", "id -u", "root", user="nobody", stdin="wrong\n")
    assert result.status == 1 and result.out == "" and "failure" in result.err


def test_the_file_maps_the_library_into_a_set_user_id_program(programs, root, wait_until):
    preload_file(root).write_text(PRELOAD_PATH + "\n")
    proc = programs.popen(["chroot", "--userspec=nobody:nogroup", root, "su"], preload=False, stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    maps = pathlib.Path(f"/proc/{proc.pid}/maps")
    wait_until(lambda: "/usr/bin/su" in maps.read_text() and PRELOAD_PATH in maps.read_text(), "the library in su")
    with proc:
        proc.communicate(b"wrong\n", timeout=20)


def test_man_runs_in_the_root(in_root):
    assert in_root("man", "--version").out.startswith("man 2")
    result = in_root("man", "ls")
    assert result.status == 0 and "--flag399" in result.out
    assert in_root("man", "absent").status == 16
    assert "--flag7" in in_root("man", "ls", user="nobody").out


def test_ssh_runs_in_the_root(in_root):
    assert in_root("ssh", "-V").err.startswith("OpenSSH")
    assert "hostname long.example.org" in in_root("ssh", "-G", "short").out
    assert in_root("ssh", "-p", "1", "127.0.0.1").status == 255
    key = in_root("bash", "-c", "rm -f k; ssh-keygen -q -t ed25519 -N '' -f k && ssh-keygen -y -f k >/dev/null && ls k k.pub")
    assert key.out == "k\nk.pub\n"
