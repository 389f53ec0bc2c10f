"""MariaDB under sysbench, and PostgreSQL under pgbench.

Always holds: the servers and their clients have a folder and a socket of their own; the amount of work is fixed, not the
time; afterwards what transactions have left adds up.
"""
import os
import pathlib
import pwd
import re
import signal

from harness.registry import check, program

ROWS = 30000
SQL = """
create table item as select seq i, concat('name', seq * 7919 % 5003) name, seq / 3 price from seq_1_to_60000;
alter table item add index (name);
select count(*), sum(price), count(distinct name), md5(group_concat(name order by i separator ',')) from item
  where i <= 20000;
select name, count(*) c, max(price) from item group by name order by c desc, name limit 5;
select count(*) from item a join item b using (name);
select i, rank() over (partition by left(name, 5) order by price desc) r from item order by r, i limit 5;
with recursive c(x) as (select 1 union all select x + 1 from c where x < 900) select sum(x) from c;
select json_length(json_arrayagg(json_object('i', i, 'n', name))) from item where i < 4000;
update item set name = upper(name) where i % 3 = 0; delete from item where i % 5 = 0; optimize table item;
checksum table item;
"""


def mariadb_answers(job, socket):
    output = job.run("mariadb", "-S", socket, "-u", "root", "--batch", "--skip-column-names", "test", text=SQL).text
    is_right = output.startswith("20000\t") and "\n405450\n" in output and "\n719604\n" in output
    check(is_right, f"MariaDB's answers are not right: {output[-300:]}")
    return output


def sysbench(job, socket, *arguments):
    # Its random numbers begin with --rand-seed; with one thread the tables are the same after each run.
    return job.run("sysbench", "oltp_read_write", f"--mysql-socket={socket}", "--mysql-user=root", "--mysql-db=test",
                   "--tables=4", f"--table-size={ROWS}", "--rand-seed=11", "--time=0", *arguments).text


@program("mariadb", serves={"mariadbd": 3000, "sysbench": 1000})
def mariadb(job):
    """serves sysbench's transactions to one and to sixteen clients, and queries with known answers"""
    data, socket = job.folder / "data", job.folder / "s"
    user = pwd.getpwuid(os.getuid()).pw_name
    job.run("mariadb-install-db", "--no-defaults", f"--user={user}", f"--datadir={data}",
            "--auth-root-authentication-method=normal", "--skip-test-db")
    sql = ["mariadb", "-S", socket, "-u", "root", "--batch", "--skip-column-names", "-e"]
    server = ["mariadbd", "--no-defaults", f"--user={user}", f"--datadir={data}", f"--socket={socket}", "--skip-networking",
              "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--group-concat-max-len=10000000"]
    with job.server(server, socket.exists):
        job.run(*sql, "create database test")
        answers = mariadb_answers(job, socket)
        sysbench(job, socket, "prepare")
        sysbench(job, socket, "--threads=1", "--events=1500", "run")
        sums = job.run(*sql, "checksum table sbtest1, sbtest2, sbtest3, sbtest4", "test").text
        shown = sysbench(job, socket, "--threads=16", "--events=8000", "run")
        # Each transaction deletes a row and inserts it again.
        count = "select count(*) from sbtest1 union all select count(*) from sbtest4; check table sbtest1, sbtest4"
        rows = job.run(*sql, count, "test").text.split()
        check(re.search(r"transactions: +8000 ", shown), f"sysbench has not made its transactions: {shown[-600:]}")
        checked = [word for name in ("test.sbtest1", "test.sbtest4") for word in (name, "check", "status", "OK")]
        check(rows == [str(ROWS), str(ROWS), *checked], f"the tables are not in order: {rows}")
    return [answers, sums]


PG_SQL = """
create table item as
  select i, 'name' || (i::bigint * 7919 % 5003) as name, i / 3.0 as price from generate_series(1, 300000) i;
create index on item(name); analyze item;
select count(*), sum(price), count(distinct name), md5(string_agg(name, ',' order by i)) from item;
set work_mem = '64kB'; select name, count(*), max(price) from item group by 1 order by 2 desc, 1 limit 5;
set max_parallel_workers_per_gather = 3; set parallel_setup_cost = 0; set parallel_tuple_cost = 0;
set min_parallel_table_scan_size = 0;
select count(*) from item a join item b using (name);
select sum(length(v)) from (select jsonb_object_agg(name, price)::text v from item group by i % 100) x;
create function f(n int) returns bigint language plpgsql as $$ declare s bigint := 0; t text := ''; begin
  for k in 1..n loop s := s + length(t); t := left(t || k, 500); end loop; return s; end $$; select f(100000);
do $$ begin for k in 1..300 loop execute format('create table t%s (a int, b text)', k); end loop; end $$;
select count(*) from pg_class where relname ~ '^t[0-9]+$';
vacuum full item; select pg_column_size(array_agg(i)) from item;
"""


PG_SUMS = """
select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
  (select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history)
"""


class Cluster:
    """A database cluster of an unprivileged user, because the server refuses root."""

    def __init__(self, job):
        self.job = job
        self.bin = pathlib.Path(job.find("/usr/lib/postgresql/*/bin/postgres")).parent
        self.user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self.options = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        self.folder = job.folder / "cluster"
        self.folder.mkdir()
        os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self.options |= {"cwd": self.folder, "env": {"HOME": str(self.folder), "USER": self.user.pw_name}}

    def run(self, name, *arguments, **options):
        return self.job.run(self.bin / name, *arguments, **self.options, **options)

    def server(self):
        server = [self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses=", "-F",
                  "-c", "shared_buffers=64MB", "-c", "max_worker_processes=6"]
        return self.job.server(server, self.answers, stop=signal.SIGINT, **self.options)

    def answers(self):
        return self.psql("-c", "select 1", status=None).text == "1\n"

    def psql(self, *arguments, **options):
        return self.run("psql", "-h", self.folder, "-U", "admin", "-d", "postgres", "-XAt", "-v", "ON_ERROR_STOP=1",
                        *arguments, **options)

    def pgbench(self, *arguments):
        return self.run("pgbench", "-h", self.folder, "-U", "admin", *arguments, "postgres").text


@program("postgres", serves={"postgres": 500, "pgbench": 100})
def postgres(job):
    """serves pgbench's transactions, plain, prepared and with a new connection for each, and parallel queries"""
    cluster = Cluster(job)
    cluster.run("initdb", "-D", cluster.folder / "data", "-N", "-A", "trust", "-U", "admin", "--locale=C.UTF-8")
    with cluster.server():
        answers = cluster.psql(text=PG_SQL).text
        check("300000|" in answers and "\n300\n" in answers, f"the server's answers are not right: {answers[-300:]}")
        cluster.pgbench("-i", "-s", "5", "-q")
        done = [cluster.pgbench("-n", "-c", clients, "-j", "2", "-t", each, *more)
                for clients, each, more in (("8", "1500", ()), ("16", "800", ("-M", "prepared")), ("4", "150", ("-C",)))]
        check(all("failed transactions: 0" in text for text in done), f"transactions have failed: {done}")
        sums = cluster.psql("-c", PG_SUMS).text
        count = cluster.psql("-c", "select count(*) from pgbench_history").text
        check(len(set(sums.strip().split("|"))) == 1 and int(count) == 8 * 1500 + 16 * 800 + 4 * 150,
              f"the accounts do not balance: {sums} {count}")
    return answers
