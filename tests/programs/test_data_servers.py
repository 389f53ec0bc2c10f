"""Databases and servers: sqlite3, redis, nginx and postgres.

What always holds: a server that runs with the library in every one of its
processes gives right answers while it is under load, and a polite stop ends it
with status 0. All sockets are unix sockets or ports of 127.0.0.1.
"""

import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request

import pytest

SQL = """
create table item(id integer primary key, name text, price real, note blob);
create index by_name on item(name, price);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
insert into item select i, 'name' || (i * 7919 % 5003), i / 3.0, zeroblob(i % 200) from n;
select count(*), sum(price), count(distinct name), sum(length(note)) from item;
select name, count(*) c, group_concat(id) from item group by name order by c desc, name limit 3;
begin; update item set name = upper(name) where id % 3 = 0; savepoint a; delete from item; rollback to a; commit;
select a.id, b.id from item a join item b on a.name = b.name and a.id < b.id order by 1, 2 limit 5;
select json_group_array(json_object('id', id, 'n', name)) from (select * from item where id < 30);
create virtual table words using fts5(t); insert into words select name || ' common word' from item limit 4000;
select count(*) from words where words match 'common AND name7*';
select id, rank() over (partition by substr(name, 1, 5) order by price desc) r from item order by r, id limit 5;
delete from item where id % 2; vacuum; pragma integrity_check;
with recursive c(x) as (select 1 union all select x + 1 from c where x < 300000) select sum(x) from c;
select hex(randomblob(3)) is not null, printf('%.3f', avg(price)) from item;
"""


def test_sqlite3_workload(programs):  # COMPAT 66
    result = programs.same_script(["bash", "-c", "sqlite3 -bail w.db <$0 && sqlite3 w.db .dump | sha256sum"], SQL, ".sql",
                                  files=["w.db"])
    assert "30000|" in result.out and "\nok\n" in result.out


# ---- redis

def redis(programs, sock, *command, stdin="", preload=False):
    """One command, or commands from stdin, to a redis server."""
    return programs.run(["redis-cli", "-s", sock, *command], preload=preload, stdin=stdin).out


def redis_server(programs, directory, preload=True):
    """A redis server in a directory, ready to answer."""
    sock = directory / "s"

    def ready():
        return sock.exists() and redis(programs, sock, "ping") == "PONG\n"
    return programs.server(["redis-server", "--port", 0, "--unixsocket", sock, "--dir", directory, "--save", "",
                            "--io-threads", 2, "--enable-debug-command", "yes"], ready, preload=preload)


def redis_fill():
    """Commands that make a data set that is always the same."""
    lines = [f"set string:{i} {'v' * (i % 400)}" for i in range(3000)]
    lines += [f"hset hash:{i % 50} field{i} {'h' * (i % 90)}" for i in range(4000)]
    lines += [f"rpush list:{i % 20} {'l' * (i % 120)}" for i in range(4000)]
    lines += [f"zadd zset:{i % 9} {i * 7919 % 1009} m{i}" for i in range(4000)]
    lines += [f"sadd set:{i % 9} {i}" for i in range(4000)]
    lines += [f"append long {'a' * 500}" for _ in range(400)] + ["del string:7", "setrange string:8 100000 end"]
    return "\n".join(lines) + "\n"


def test_redis_under_load_saves_and_stops(programs, short_dir, wait_until):  # COMPAT 68
    digests = []
    for preload in False, True:
        place = short_dir / str(preload)
        place.mkdir()
        with redis_server(programs, place, preload) as server:
            if preload:
                programs.assert_mapped_in_all(server.pid)
            redis(programs, place / "s", stdin=redis_fill())
            digests.append(redis(programs, place / "s", "debug", "digest"))
            if preload:
                redis_load(programs, place / "s", wait_until)
            redis(programs, place / "s", "save")
    assert digests[0] == digests[1] and len(digests[0].strip()) == 40
    # a server without the library reads what the one with it has saved
    again = short_dir / "again"
    again.mkdir()
    shutil.copy(short_dir / "True" / "dump.rdb", again)
    with redis_server(programs, again, False):
        for key in redis(programs, again / "s", "--scan", "--pattern", "bench*").split():
            redis(programs, again / "s", "del", key)
        assert redis(programs, again / "s", "debug", "digest") == digests[0]


def redis_load(programs, sock, wait_until):
    """Benchmark a server while it saves in the background; take the benchmark's data out again."""
    before = set(redis(programs, sock, "--scan").split())
    bench = programs.popen(["redis-benchmark", "-s", sock, "-n", 5000, "-c", 30, "-r", 2000, "-P", 4, "-d", 300, "-q",
                            "--threads", 2, "-t", "set,get,incr,lpush,rpop,sadd,hset,spop,zadd,lrange_100,mset"],
                           stdout=subprocess.DEVNULL)
    saves = 0
    while bench.poll() is None or saves == 0:
        if "started" in redis(programs, sock, "bgsave", preload=True):
            saves += 1
        wait_until(lambda: "rdb_bgsave_in_progress:0" in redis(programs, sock, "info", "persistence"), "bgsave to end")
        assert "rdb_last_bgsave_status:ok" in redis(programs, sock, "info", "persistence")
    assert bench.wait(60) == 0
    redis(programs, sock, "bgrewriteaof")
    wait_until(lambda: "aof_rewrite_in_progress:0" in redis(programs, sock, "info", "persistence"), "rewrite to end")
    assert redis(programs, sock, "eval", "local t = {} for i = 1, 20000 do t[i] = 'x' .. i end return #table.concat(t)", 0) \
        == "108894\n"
    new = sorted(set(redis(programs, sock, "--scan").split()) - before)
    assert len(new) > 2000
    redis(programs, sock, stdin="".join(f"unlink {key}\n" for key in new))


# ---- nginx

NGINX_CONF = """
daemon off; user %(user)s; worker_processes 2; pid %(dir)s/pid; error_log %(dir)s/error.log warn;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path %(dir)s/b; proxy_temp_path %(dir)s/p; fastcgi_temp_path %(dir)s/f;
  uwsgi_temp_path %(dir)s/u; scgi_temp_path %(dir)s/g;
  gzip on; gzip_min_length 100; gzip_types *;
  server { listen 127.0.0.1:%(port)d; root %(dir)s/www; autoindex on;
    location /via/ { proxy_pass http://127.0.0.1:%(port)d/; proxy_buffers 8 4k; }
    location /text { return 200 "text $uri $args\\n"; } }
}
"""


def fetch(port, path, **headers):
    """The body of a page."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def can_connect(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def wrk(programs, port, path, seconds):
    """Put load on a page; every answer must be good."""
    out = programs.run(["wrk", "-t2", "-c24", f"-d{seconds}s", "-H", "Accept-Encoding: gzip",
                        f"http://127.0.0.1:{port}{path}"]).out
    assert int(re.search(r"(\d+) requests in", out)[1]) > 20, out
    assert "Non-2xx" not in out and "Socket errors" not in out, out


def test_nginx_under_load_reloads_and_stops(programs, short_dir, free_port, wait_until):  # COMPAT 68
    port = free_port()
    www = short_dir / "www"
    www.mkdir()
    files = {f"{n}.txt": os.urandom(100 * n * n) + b"compressible " * n for n in range(1, 60, 3)}
    for name, content in files.items():
        (www / name).write_bytes(content)
    conf = short_dir / "conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    conf.write_text(NGINX_CONF % {"dir": short_dir, "port": port, "user": user})
    with programs.server(["nginx", "-p", short_dir, "-c", conf, "-e", short_dir / "error.log"],
                         lambda: can_connect(port), stop=signal.SIGQUIT) as server:
        programs.assert_mapped_in_all(server.pid, least=3)

        def check():
            for name, content in files.items():
                assert fetch(port, "/" + name) == content
                assert fetch(port, "/via/" + name) == content
            assert fetch(port, "/text?a=b") == b"text /text a=b\n"
            assert fetch(port, "/").count(b"<a ") == len(files) + 1
        check()
        failures = []
        load = threading.Thread(target=lambda: failures.append(catch(lambda: wrk(programs, port, "/40.txt", 2))))
        load.start()
        check()
        load.join()
        assert failures == [None]
        wrk(programs, port, "/via/40.txt", 1)
        old = set(programs.children(server.pid))
        server.send_signal(signal.SIGHUP)
        check()
        wait_until(lambda: len(set(programs.children(server.pid)) - old) == 2
                   and not old & set(programs.children(server.pid)), "new workers")
        programs.assert_mapped_in_all(server.pid, least=3)
        check()
    assert "[alert]" not in (short_dir / "error.log").read_text()


def catch(action):
    """What an action raised, if anything."""
    try:
        action()
    except BaseException as error:  # pytest's failures are no Exception
        return error
    return None


# ---- postgres

PG_SQL = """
create table item as select i, 'name' || (i * 7919 % 5003) as name, i / 3.0 as price from generate_series(1, 60000) i;
create index on item(name); analyze item;
select count(*), sum(price), count(distinct name), md5(string_agg(name, ',' order by i)) from item;
set work_mem = '64kB'; select name, count(*), max(price) from item group by 1 order by 2 desc, 1 limit 5;
set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
select count(*) from item a join item b using (name);
select jsonb_object_agg(name, price) -> 'name17' from item where i < 5000;
create function f(n int) returns bigint language plpgsql as $$ declare s bigint := 0; t text := ''; begin
  for k in 1..n loop s := s + length(t); t := left(t || k, 500); end loop; return s; end $$; select f(50000);
do $$ begin raise exception 'expected'; end $$;
select regexp_replace(repeat('abc1', 2000), '[0-9]', 'x', 'g') = repeat('abcx', 2000);
vacuum full item; select pg_column_size(array_agg(i)) from item;
"""


class Cluster:
    """A database cluster of an unprivileged user; postgres refuses root."""

    def __init__(self, programs, directory, preload):
        self.programs, self.directory, self.preload = programs, directory, preload
        self.bin = pathlib.Path(programs.need("postgres")).parent
        self.user = pwd.getpwuid(os.getuid())
        self.kw = {}
        if os.getuid() == 0:
            self.user = pwd.getpwnam("nobody")
            self.kw = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        directory.mkdir()
        os.chown(directory, self.user.pw_uid, self.user.pw_gid)
        self.kw |= {"cwd": directory, "env": {"HOME": str(directory), "USER": self.user.pw_name, "TMPDIR": str(directory)}}

    def run(self, name, *args, **kw):
        return self.programs.run([self.bin / name, *args], self.preload, **self.kw, **kw)

    def init(self):
        self.run("initdb", "-D", self.directory / "data", "-N", "-A", "trust", "-U", "admin", "--locale=C.UTF-8")

    def server(self):
        data = self.directory / "data"
        return self.programs.server(
            [self.bin / "postgres", "-D", data, "-k", self.directory, "-c", "listen_addresses=", "-F",
             "-c", "shared_buffers=32MB", "-c", "max_worker_processes=6"],
            lambda: self.psql("-c", "select 1", status=None).status == 0,
            stop=signal.SIGINT, preload=self.preload, **self.kw)

    def psql(self, *args, **kw):
        return self.run("psql", "-h", self.directory, "-U", "admin", "-d", "postgres", "-XAt", *args, **kw)

    def pgbench(self, *args):
        return self.run("pgbench", "-h", self.directory, "-U", "admin", *args, "postgres").out


@pytest.fixture
def readable(programs, short_dir):
    """The library as a copy that every user may read."""
    copy = short_dir / "lib" / programs.library.name
    copy.parent.mkdir(mode=0o755)
    shutil.copy(programs.library, copy)
    copy.chmod(0o755)
    programs.library = copy


def test_postgres_under_pgbench_answers_and_stops(programs, short_dir, readable):  # COMPAT 68
    answers = []
    for preload in False, True:
        cluster = Cluster(programs, short_dir / str(preload), preload)
        cluster.init()
        with cluster.server() as server:
            if preload:
                programs.assert_mapped_in_all(server.pid, least=5)
            result = cluster.psql(stdin=PG_SQL)
            answers.append((result.out, result.err))
            if preload:
                pgbench_load(cluster, programs, server)
    assert answers[0] == answers[1]
    assert "60000|" in answers[0][0] and "expected" in answers[0][1]


def pgbench_load(cluster, programs, server):
    """Load a cluster with transactions; its accounts must balance afterwards. Without pgbench's -n the later
    of the two programs would empty the history while the earlier one writes it."""
    cluster.pgbench("-i", "-s", "1", "-q")
    bench = programs.popen([cluster.bin / "pgbench", "-h", cluster.directory, "-U", "admin", "-n", "-c", 6, "-j", 2, "-T", 4,
                            "-C", "postgres"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **cluster.kw)
    programs.assert_mapped_in_all(server.pid, least=5)
    assert "failed transactions: 0" in cluster.pgbench("-n", "-c", "4", "-j", "2", "-t", "300", "-M", "prepared")
    assert bench.wait(60) == 0
    sums = cluster.psql("-c", "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),"
                              "(select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history)").out
    assert len(set(sums.strip().split("|"))) == 1, sums
    assert int(cluster.psql("-c", "select count(*) from pgbench_history").out) > 1200
