"""python3, perl, php, ruby, node and java.

What always holds: a script prints the same and exits the same with the library
as without it, and the language's own regression tests give the same verdicts.
"""

import re
import xml.etree.ElementTree

import pytest

PYTHON_SCRIPT = r'''
import collections, json, re, subprocess, sys, threading, zlib, random, multiprocessing, hashlib, sqlite3, decimal
random.seed(1)
tree = {f"k{i}": [random.random() for _ in range(i % 50)] for i in range(4000)}
text = json.dumps(tree, sort_keys=True)
assert json.loads(text) == tree
print(len(text), hashlib.sha256(text.encode()).hexdigest())
print(collections.Counter(re.findall(r"k(\d)", text)).most_common(4), len(re.sub(r"0\.(\d)", r"<\1>", text)))
print(zlib.decompress(zlib.compress(text.encode())) == text.encode())
for i in range(20):
    print(subprocess.run(["sh", "-c", f"echo {i}; cat | wc -c; exit {i % 2}"], input=text.encode(), capture_output=True))
totals = collections.Counter()
lock = threading.Lock()
def work(n):
    mine = [bytes(random.randrange(1, 2000)) for _ in range(3000)]
    with lock:
        totals[n] += len(mine)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(totals.items()))
with multiprocessing.Pool(2) as pool:
    print(sum(pool.map(len, [b"x" * n for n in range(0, 100000, 1000)])))
db = sqlite3.connect(":memory:")
db.execute("create table t(a, b)")
db.executemany("insert into t values(?, ?)", ((i, "v" * (i % 90)) for i in range(20000)))
print(db.execute("select sum(a), sum(length(b)) from t").fetchall(), decimal.Decimal(2).sqrt())
a = bytearray()
for i in range(200000):
    a += b"grow"
print(len(a))
sys.exit(5)
'''

PHP_SCRIPT = r'''<?php
$database = new PDO("sqlite::memory:");
$database->exec("create table t(a)");
for ($i = 0; $i < 1000; $i++) $database->exec("insert into t values($i)");
echo "rows ", $database->query("select sum(a) from t")->fetchColumn(), "\n";
$document = new DOMDocument();
$document->loadXML("<a>" . str_repeat("<b c='d'/>", 2000) . "</a>");
echo $document->getElementsByTagName("b")->length, " ", strlen($document->saveXML()), "\n";
echo mb_strtoupper(str_repeat("\u{e4}\u{f6}", 5)), " ", count(get_loaded_extensions()) > 20, "\n";
echo (new NumberFormatter("de", NumberFormatter::DECIMAL))->format(1234567.5), "\n";
$grown = [];
for ($i = 0; $i < 200000; $i++) $grown["k$i"] = str_repeat("x", $i % 50);
echo count($grown), " ", strlen(implode($grown)), "\n";
exit(3);
'''

PERL_SCRIPT = r'''
use strict; use warnings; use threads; use List::Util qw(sum shuffle); use Digest::SHA qw(sha256_hex); use Storable qw(dclone);
my %h; $h{"key$_"} = { n => $_, list => [ 1 .. $_ % 30 ] } for 1 .. 12000;
my $copy = dclone(\%h); delete $h{"key$_"} for 1 .. 5000;
print scalar(keys %h), " ", scalar(keys %$copy), " ", sum(map { scalar @{ $_->{list} } } values %$copy), "\n";
my $text = join ",", map { "$_=$copy->{$_}{n}" } sort keys %$copy;
print length($text), " ", sha256_hex($text), "\n";
my $count = () = $text =~ /key(\d*)7=\g1/g; (my $x = $text) =~ s/key(\d+)/<$1>/g; print "$count ", length $x, "\n";
my $s = ""; $s .= chr(65 + $_ % 26) x ($_ % 100) for 1 .. 20000; print length $s, "\n";
for my $i (1 .. 10) { my $pid = fork; unless ($pid) { my @a = (1) x 10000; exit $i } waitpid $pid, 0; print $? >> 8, " " }
print "\n", `echo from a child`;
my @t = map { my $n = $_; threads->create(sub { my %m = map { $_ => "v" x $_ } 1 .. 200 * $n; scalar keys %m }) } 1 .. 4;
print join(" ", map { $_->join } @t), "\n";
print join(" ", (sort { $a <=> $b } map { ($_ * 7919) % 100003 } 1 .. 100000)[0, 50000, 99999]), "\n";
printf "%s\n", eval { die { code => 42 } } // $@->{code};
'''

RUBY_SCRIPT = r'''
require "json"; require "digest"; require "set"; require "zlib"
h = (1..20000).to_h { |i| ["key#{i}", { "n" => i, "list" => (1..i % 20).to_a }] }
text = JSON.generate(h); puts text.size, Digest::SHA256.hexdigest(text), JSON.parse(text) == h
puts text.scan(/key(\d)7/).tally.sort.inspect, text.gsub(/key(\d+)/) { "<#{$1}>" }.size
puts Zlib.inflate(Zlib.deflate(text)) == text
s = +""; 100000.times { |i| s << (65 + i % 26).chr * (i % 40) }; puts s.size
puts 8.times.map { |n| Thread.new { (1..3000).map { |i| ("x" * i).hash; i * n }.sum } }.map(&:value).inspect
puts 5.times.map { |i| pid = fork { exit i }; Process.wait(pid); $?.exitstatus }.inspect, `echo child`
GC.start; GC.compact; puts ObjectSpace.each_object(Class).include?(Set)
GC.stress = true; a = 30.times.map { |i| "s#{i}" * 3 }; GC.stress = false; puts a.join.size
fib = Fiber.new { 10.times { |i| Fiber.yield i * i } ; nil }; puts 10.times.map { fib.resume }.inspect
puts (1..60).inject(:*), 7**4000 % 1000007
begin; raise ArgumentError, "no"; rescue => e; puts e.message; end
r = Ractor.new(verbose: nil) { 1 } rescue nil
exit 4
'''

NODE_HTTP = r'''
const http = require("http"), crypto = require("crypto"), zlib = require("zlib");
const body = n => Buffer.alloc(n * 100, "item " + n + ";");
const server = http.createServer((req, res) => {
  const n = Number(req.url.slice(1)), chunks = [];
  req.on("data", c => chunks.push(c));
  req.on("end", () => zlib.gzip(Buffer.concat([body(n), ...chunks]), (e, z) => res.end(z)));
});
const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
const ask = (port, n) => new Promise((good, bad) => {
  const req = http.request({ host: "127.0.0.1", port, agent, path: "/" + n, method: "POST" }, res => {
    const chunks = [];
    res.on("data", c => chunks.push(c)).on("end", () => good(zlib.gunzipSync(Buffer.concat(chunks))));
  }).on("error", bad);
  req.end(JSON.stringify({ n, list: Array(n).fill(n) }));
});
server.listen(0, "127.0.0.1", async () => {
  const answers = await Promise.all(Array.from({ length: 1500 }, (_, n) => ask(server.address().port, n % 300)));
  const hash = crypto.createHash("sha256");
  answers.forEach(a => hash.update(a));
  console.log(answers.length, answers.reduce((s, a) => s + a.length, 0), hash.digest("hex"));
  agent.destroy(); server.close(() => { console.log("closed"); process.exitCode = 6; });
});
'''

NODE_WORKERS = r'''
const { Worker, isMainThread, parentPort } = require("worker_threads");
if (isMainThread) {
  const jobs = Array.from({ length: 60 }, (_, i) => i), results = [], pool = [];
  for (let w = 0; w < 4; w++) {
    const worker = new Worker(__filename);
    const next = () => jobs.length ? worker.postMessage(jobs.shift()) : worker.postMessage(null);
    worker.on("message", r => { results.push(r); next(); });
    pool.push(new Promise(done => worker.on("exit", done)));
    next();
  }
  Promise.all(pool).then(codes => {
    results.sort((a, b) => a.job - b.job);
    console.log(codes.join(), JSON.stringify(results));
  });
} else {
  const crypto = require("crypto");
  parentPort.on("message", job => {
    if (job === null) return process.exit(job);
    const map = new Map();
    for (let i = 0; i < 5000; i++) map.set("k" + i, Buffer.alloc((i * job) % 3000, i & 255));
    const hash = crypto.createHash("md5");
    for (const b of map.values()) hash.update(b);
    parentPort.postMessage({ job, size: map.size, hash: hash.digest("hex") });
  });
}
'''

JAVA_PROGRAM = r'''
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import java.util.zip.*;

public class Work {
    static long job(int n) throws Exception {
        Map<String, byte[]> map = new TreeMap<>();
        for (int i = 0; i < 2000; i++) map.put("key" + (i * 31 + n) % 1777, new byte[i % 700]);
        ByteBuffer direct = ByteBuffer.allocateDirect(1 << 18);
        for (byte[] b : map.values()) if (direct.remaining() >= b.length) direct.put(b);
        byte[] raw = new byte[direct.position()];
        direct.flip();
        direct.get(raw);
        Deflater deflater = new Deflater();
        deflater.setInput(raw);
        deflater.finish();
        byte[] packed = new byte[raw.length + 100];
        int length = deflater.deflate(packed);
        deflater.end();
        CRC32 crc = new CRC32();
        crc.update(packed, 0, length);
        return crc.getValue() + map.size();
    }

    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Long>> results = new ArrayList<>();
        for (int i = 0; i < 200; i++) { final int n = i; results.add(pool.submit(() -> job(n))); }
        long sum = 0;
        for (Future<Long> r : results) sum += r.get();
        pool.shutdown();
        List<Thread> many = new ArrayList<>();
        ConcurrentHashMap<Integer, String> seen = new ConcurrentHashMap<>();
        for (int i = 0; i < 200; i++) { final int n = i; Thread t = new Thread(() -> seen.put(n, "t" + n)); t.start(); many.add(t); }
        for (Thread t : many) t.join();
        System.out.println(sum + " " + seen.size() + " " + IntStream.range(0, 3000000).parallel().mapToLong(i -> i * 3L).sum());
        System.out.println(new Scanner(new ProcessBuilder("echo", "child").start().getInputStream()).next());
        System.gc();
        System.exit(9);
    }
}
'''


def verdicts(path):
    """The verdict of each test in a result file of Python's test runner."""
    found = {}
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found[case.get("name")] = ",".join(bad) or case.get("result")
    return found


def regression(programs, tmp, tests, timeout=60):
    """Run regression tests of Python without and with the library, each with
    Python's own small object allocator and with malloc for everything. The
    four runs go at the same time because they mostly sleep; every verdict
    must be the same."""
    programs.need("/usr/lib/python3*/test/test_dict.py")
    running = []
    for allocator in "default", "malloc":
        for preload in False, True:
            place = tmp / f"{allocator}-{preload}"
            place.mkdir()
            with open(place / "log", "wb") as log:
                running.append((place, programs.popen(
                    ["python3", "-m", "test", "-j1", "--timeout", timeout - 5, "--tempdir", place,
                     "--junit-xml", place / "result.xml", *tests],
                    preload, env={"TMPDIR": str(place), "PYTHONMALLOC": allocator}, stdout=log, stderr=log)))
    results = []
    statuses = [proc.wait(timeout) for _, proc in running]
    for (place, _), status in zip(running, statuses):
        log = (place / "log").read_text(errors="replace")
        if status != 0 and place.name.endswith("-False"):
            pytest.skip(f"Python's own tests fail without the library, too:\n{log[-1000:]}")
        assert status == 0, f"{place.name}: status {status}\n{log[-5000:]}"
        results.append(verdicts(place / "result.xml"))
    assert results[0] == results[1]
    assert results[2] == results[3]
    assert all(len(r) > 20 and "completed" in r.values() for r in results)


def test_python_regression_tests_dict_list_threading(programs, short_dir):  # COMPAT 67
    regression(programs, short_dir, ["test_dict", "test_list", "test_threading"], timeout=90)


def test_python_regression_tests_ctypes(programs, short_dir):  # COMPAT 67
    regression(programs, short_dir, ["test_ctypes"])


def test_python_regression_tests_multiprocessing_part(programs, short_dir):  # COMPAT 67
    parts = ["WithProcessesTestPool", "WithProcessesTestQueue", "TestHeap", "SharedMemory", "SharedCTypes",
             "TestNoForkBomb", "TestStartMethod", "WithManagerTestContainers", "WithProcessesTestConnection",
             "TestForkAwareThreadLock", "WithThreadsTestPool"]
    only = [arg for part in parts for arg in ("-m", f"*{part}*")]
    regression(programs, short_dir, [*only, "test_multiprocessing_fork"], timeout=90)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_python_regression_tests_multiprocessing_all(programs, short_dir, method):  # COMPAT 67
    regression(programs, short_dir, ["test_multiprocessing_" + method], timeout=580)


@pytest.mark.slow
def test_python_regression_tests_of_many_modules(programs, short_dir):  # COMPAT 67
    modules = "bytes re json set gc io mmap subprocess decimal pickle struct array unicode weakref zlib"
    regression(programs, short_dir, ["test_" + m for m in modules.split()], timeout=580)


@pytest.mark.parametrize("allocator", ["", "malloc", "debug"])
def test_python_json_re_subprocess_script(programs, allocator):  # COMPAT 67
    env = {"PYTHONMALLOC": allocator} if allocator else {}
    programs.same_script(["python3"], PYTHON_SCRIPT, env=env, status=5)


def test_perl_script(programs):  # COMPAT 66
    assert "from a child" in programs.same_script(["perl"], PERL_SCRIPT).out


def test_ruby_script(programs):  # COMPAT 67
    assert "child" in programs.same_script(["ruby", "-W0"], RUBY_SCRIPT, status=4).out


def test_php_script(programs):  # COMPAT 98: its extensions are loaded with RTLD_DEEPBIND
    assert "rows 499500" in programs.same_script(["php"], PHP_SCRIPT, ".php", status=3).out


def test_node_serves_http_to_its_own_client(programs):  # COMPAT 67
    assert "closed" in programs.same_script(["node"], NODE_HTTP, ".js", status=6).out


def test_node_worker_threads(programs):  # COMPAT 67
    assert programs.same_script(["node"], NODE_WORKERS, ".js").out.startswith("0,0,0,0 ")


def test_java_version(programs):  # COMPAT 67
    assert re.search(r"version \"", programs.same(["java", "-version"]).err)


def test_java_compiles_the_same_classes(programs):  # COMPAT 67
    source = programs.tmp / "Work.java"
    source.write_text(JAVA_PROGRAM)
    assert programs.same(["javac", "-d", ".", source], files=["*.class"]).files


@pytest.mark.parametrize("collector", ["Serial", "G1"])
def test_java_program_with_many_threads(programs, collector):  # COMPAT 67
    source = programs.tmp / "Work.java"
    source.write_text(JAVA_PROGRAM)
    if not list(programs.tmp.glob("*.class")):
        programs.run(["javac", "-d", programs.tmp, source])
    result = programs.same(["java", f"-XX:+Use{collector}GC", "-Xmx200m", "-cp", programs.tmp, "Work"], status=9)
    assert " 200 " in result.out and "child" in result.out
