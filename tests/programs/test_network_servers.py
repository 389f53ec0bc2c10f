"""memcached, named, and php behind FastCGI.

What always holds: a server that runs with the library in every one of its processes answers as it does without it, and a
polite stop ends it with status 0. All sockets are unix sockets or ports of 127.0.0.1.
"""

import re
import signal
import socket


# ---- memcached

def conversation(path, count):
    """What a memcached says to stores, appends, reads and deletes of items of all sizes."""
    said = []
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rwb") as stream:
        sock.settimeout(30)
        sock.connect(str(path))
        for i in range(count):
            value = b"%d " % i * (i * 7 % 1500)
            stream.write(b"set key%d 0 0 %d\r\n%s\r\nappend key%d 0 0 3\r\nend\r\n" % (i, len(value), value, i))
            stream.write(b"get key%d\r\n" % (i // 2) + (b"delete key%d\r\n" % (i // 3) if i % 5 == 0 else b""))
            stream.flush()
            said += [stream.readline(), stream.readline()]
            while (line := stream.readline()) != b"END\r\n":
                said.append(line)
            if i % 5 == 0:
                said.append(stream.readline())
    return said


def test_memcached(programs, short_dir, wait_until):  # COMPAT 68
    answers = []
    for preload in False, True:
        path = short_dir / f"s{preload}"
        as_root = ["-u", "root"] if programs.env(False)["USER"] == "root" else []
        server = programs.popen(["memcached", "-s", path, "-m", "512", "-t", "4", *as_root], preload)
        wait_until(path.exists, "memcached to be ready")
        if preload:
            programs.assert_mapped(server.pid)
        answers.append(conversation(path, 3000))
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert answers[0] == answers[1]
    assert answers[0].count(b"STORED\r\n") == 6000 and answers[0].count(b"DELETED\r\n") > 100


# ---- named

ZONE = """$TTL 60
@ IN SOA ns.test. admin.test. 1 60 60 60 60
@ IN NS ns.test.
ns IN A 127.0.0.1
""" + "".join(f"host{n} IN A 10.0.{n // 250}.{n % 250}\ntext{n} IN TXT \"{'t' * (n % 200)}\"\n" for n in range(3000))
NAMED = """
options { directory "%(dir)s"; pid-file none; session-keyfile none;
  listen-on port %(port)d { 127.0.0.1; }; listen-on-v6 { none; };
  recursion no; dnssec-validation no; managed-keys-directory "%(dir)s"; };
controls { };
zone "test" { type primary; file "test.zone"; };
"""


def test_named_with_another_allocator_inside(programs, short_dir, free_port, wait_until):  # COMPAT 98
    """Debian's named calls jemalloc by its own names, and libc's malloc too."""
    questions = short_dir / "questions"
    questions.write_text("".join(f"host{n}.test A\ntext{n}.test TXT\nnone{n}.test A\n" for n in range(0, 3000, 7)))
    (short_dir / "test.zone").write_text(ZONE)
    answers = []
    for preload in False, True:
        port = free_port()
        conf = short_dir / "conf"
        conf.write_text(NAMED % {"dir": short_dir, "port": port})

        def ask(*words):
            return programs.run(["dig", "@127.0.0.1", "-p", port, "+tries=2", "+noall", "+answer", *words], preload=False,
                                status=None)
        with programs.server(["/usr/sbin/named", "-f", "-n", "2", "-c", conf], lambda: "10.0.0.1" in ask("host1.test").out,
                             preload=preload) as server:
            if preload:
                programs.assert_mapped(server.pid)
            answers.append(ask("-f", questions).out)
            transferred = ask("test", "AXFR", "+onesoa").out
    assert answers[0] == answers[1]
    assert answers[1].count("\tA\t") == 429 and transferred.count("\n") >= 6003


# ---- php behind FastCGI

FPM = """
[global]
error_log = %(dir)s/log
daemonize = no
[www]
listen = %(dir)s/s
%(user)s
pm = dynamic
pm.max_children = 4
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 4
pm.max_requests = 20
"""
PAGE = r"""<?php
$database = new PDO("sqlite::memory:");
$database->exec("create table t(a)");
for ($i = 0; $i < 300; $i++) $database->exec("insert into t values($i)");
$document = new DOMDocument();
$document->loadXML("<a>" . str_repeat("<b c='d'/>", 500) . "</a>");
$grown = [];
for ($i = 0; $i < 20000; $i++) $grown["k$i"] = str_repeat("x", $i % 50);
echo $database->query("select sum(a) from t")->fetchColumn(), " ", $document->getElementsByTagName("b")->length, " ",
     mb_strtoupper("\u{e4}"), " ", strlen(implode($grown)), " ",
     (new NumberFormatter("de", NumberFormatter::DECIMAL))->format(1234.5), " ", $_SERVER["QUERY_STRING"], "\n";
"""


def test_php_behind_fastcgi(programs, short_dir, find_program, wait_until):  # COMPAT 67, 98: extensions by RTLD_DEEPBIND
    (short_dir / "page.php").write_text(PAGE)
    as_root = programs.env(False)["USER"] == "root"
    conf = short_dir / "conf"
    conf.write_text(FPM % {"dir": short_dir, "user": "user = root\ngroup = root" if as_root else ""})
    pages = []
    for preload in False, True:
        argv = [find_program("/usr/sbin/php-fpm*"), "-F", "-y", conf, *(["-R"] if as_root else [])]

        def page(number):
            request = {"SCRIPT_FILENAME": str(short_dir / "page.php"), "REQUEST_METHOD": "GET"}
            request["QUERY_STRING"] = f"n={number}"
            return programs.run(["cgi-fcgi", "-bind", "-connect", short_dir / "s"], preload=False, env=request).out
        with programs.server(argv, (short_dir / "s").exists, stop=signal.SIGQUIT, preload=preload) as server:
            wait_until(lambda: len(programs.children(server.pid)) >= 2, "two workers")
            if preload:
                programs.assert_mapped_in_all(server.pid, least=3)
            before = set(programs.children(server.pid))
            pages.append([page(number) for number in range(60)])
            # Workers that have answered twenty times have made room for others.
            wait_until(lambda: not before & set(programs.children(server.pid)), "new workers")
        (short_dir / "s").unlink(missing_ok=True)
    assert pages[0] == pages[1]
    for number, text in enumerate(pages[1]):
        assert re.search(rf"44850 500 Ä 490000 1\.234,5 n={number}\n", text), text
