"""Rust, Go, MPI, MariaDB and QEMU: as tests/programs, with large packages.

What always holds: a program prints the same and exits the same with the library as without it; a server gives right answers
under load and ends politely.
"""
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
pytestmark = pytest.mark.slow


def build(*words, **options):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300, **options)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("allocator", ["system", "jemalloc"])
def test_rust(programs, allocator):  # COMPAT 67
    program = programs.tmp / "program"
    options = ["--cfg", "jemalloc"] if allocator == "jemalloc" else []
    build("/usr/bin/rustc", "-O", "--edition", "2021", *options, "-o", program, HERE / "work.rs")
    result = programs.same([program], status=5, clean=lambda text: text.split("\nthread 'main' panicked")[0])
    assert result.out.startswith("3001 ") and result.out.endswith("true\n")
    programs.assert_loaded_by([program], status=5)


def test_go_with_c(programs):  # COMPAT 67
    program = programs.tmp / "program"
    env = programs.env(False, {"GOCACHE": str(programs.tmp / "cache"), "GO111MODULE": "off", "CGO_ENABLED": "1"})
    build("go", "build", "-o", program, HERE / "work.go", env=env)
    for threads in "1", "4":
        assert "child" in programs.same([program], status=5, env={"GOMAXPROCS": threads}).out


def test_mpi(programs):  # COMPAT 68
    program = programs.tmp / "ring"
    build("mpicc", "-O1", "-Wall", "-Wextra", "-Werror", HERE / "ring.c", "-o", program)
    words = ["/usr/bin/mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "3", program]
    result = programs.same(words, timeout=120, env={"OMPI_MCA_btl_vader_single_copy_mechanism": "none"})
    assert result.out.startswith("3: ")


SQL = """
create database w; use w;
create table item(id int primary key auto_increment, name varchar(200), price double, note text, key(name)) engine=innodb;
insert into item(name, price, note)
  select concat('name', seq * 7919 % 5003), seq / 3, repeat('n', seq % 300) from seq_1_to_30000;
select count(*), round(sum(price), 3), count(distinct name), sum(length(note)) from item;
select name, count(*) c from item group by name order by c desc, name limit 5;
select count(*) from item a join item b on a.name = b.name and a.id < b.id;
select json_extract(json_arrayagg(json_object('id', id)), '$[7].id') from (select id from item order by id limit 100) t;
start transaction; delete from item where id % 2; rollback; select count(*) from item;
update item set note = repeat(name, 10) where id % 7 = 0; select sum(crc32(note)) from item;
alter table item add column more int default 5, engine=aria; check table item;
with recursive c(x) as (select 1 union all select x + 1 from c where x < 900) select sum(x) from c;
"""


def test_mariadb(programs, short_dir, wait_until):  # COMPAT 68
    user = programs.env(False)["USER"]
    answers = []
    for preload in False, True:
        place = short_dir / str(preload)
        programs.run(["/usr/bin/mariadb-install-db", "--no-defaults", f"--datadir={place}", f"--user={user}",
                      "--auth-root-authentication-method=normal"], preload, timeout=240)
        sock = short_dir / f"s{preload}"

        def sql(text, *words):
            return programs.run(["/usr/bin/mariadb", "--no-defaults", "-S", sock, "-u", "root", "-N", *words], preload=False,
                                stdin=text, status=None, timeout=120)
        argv = ["/usr/sbin/mariadbd", "--no-defaults", f"--datadir={place}", f"--socket={sock}", f"--user={user}",
                "--skip-networking", "--innodb-buffer-pool-size=32M"]
        with programs.server(argv, lambda: sock.exists() and sql("select 1").out == "1\n", preload=preload,
                             timeout=120) as server:
            if preload:
                programs.assert_mapped(server.pid)
            answers.append(sql(SQL).out)
            words = ["/usr/bin/mariadb", "--no-defaults", "-S", sock, "-u", "root", "-N", "w", "-e"]
            texts = [f"select sum(length(note)) from item where id % 5 = {n}; insert into item(name) values('{n}')"
                     for n in range(5)]
            clients = [programs.popen([*words, text], preload=False, stdout=subprocess.PIPE, text=True) for text in texts]
            answers[-1] += "".join(client.communicate(timeout=120)[0] for client in clients)
    assert answers[0] == answers[1] and "30000\t" in answers[0] and answers[0].count("\n") >= 16


INIT = """#!/bin/busybox sh
/bin/busybox mkdir /proc; /bin/busybox mount -t proc proc /proc
echo "sum $(( $(/bin/busybox seq 1 2000 | /bin/busybox md5sum | /bin/busybox wc -c) + 5 ))"
/bin/busybox poweroff -f
"""


def test_qemu_starts_a_machine(programs):  # COMPAT 68
    root = programs.tmp / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/busybox").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
    (root / "init").write_text(INIT)
    for name in "bin/busybox", "init":
        (root / name).chmod(0o755)
    build("sh", "-c", "find . | cpio -o -H newc --quiet > ../root.cpio", cwd=root)
    kernel = sorted(pathlib.Path("/boot").glob("vmlinuz-*-cloud-amd64"))[-1]
    result = programs.run(["/usr/bin/qemu-system-x86_64", "-accel", "tcg", "-smp", "2", "-m", "256", "-kernel", kernel,
                           "-initrd", programs.tmp / "root.cpio", "-display", "none", "-no-reboot", "-serial", "stdio",
                           "-monitor", "none", "-append", "console=ttyS0 quiet panic=-1"], timeout=300)
    assert "sum 41" in result.out and "poolalloc" not in result.err
