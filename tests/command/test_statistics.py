"""Figures by size class and by heap: as the process says them, as they are read from outside, in gdb and in `top`.

Always holds: the program is at rest while it is looked at, so figures are exact.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Threads that free each other's blocks, holes, a heap of the program's, large blocks; then it rests, and answers on lines.
PROGRAM = r"""
#define _GNU_SOURCE
#include <malloc.h>
#include <poolalloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* Preloaded, not linked. */
#pragma weak poolalloc_heap_new
#pragma weak poolalloc_heap_alloc
#pragma weak poolalloc_stats_json
enum { kThreads = 3, kBlocks = 30000 };
static void *blocks[kThreads][kBlocks];
static pthread_barrier_t barrier;
void *kept_block, *free_block, *large_block;
static void *work(void *argument) {
  long number = (long)argument;
  char name[] = "worker ?";
  name[7] = '0' + number;
  pthread_setname_np(pthread_self(), name);
  for (int i = 0; i < kBlocks; i++) memset(blocks[number][i] = malloc(16 + (i * 37 + number) % 900), 1, 16);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < kBlocks; i += 3) free(blocks[(number + 1) % kThreads][i]);
  for (int i = 1; i < kBlocks; i += 3) free(blocks[number][i]);
  pthread_barrier_wait(&barrier);
  for (;;) pause();
}
static void put(const char *text, size_t length, void *context) { fwrite(text, 1, length, stdout); }
int main(int argc, char **argv) {
  pthread_barrier_init(&barrier, NULL, kThreads + 1);
  setvbuf(stdout, NULL, _IOLBF, 1 << 16);
  for (long i = 0; i < kThreads; i++) {
    pthread_t thread;
    pthread_create(&thread, NULL, work, (void *)i);
  }
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  poolalloc_heap_options options = {sizeof options, "requests", 0};
  poolalloc_heap *heap = poolalloc_heap_new(&options);
  for (int i = 0; i < 500; i++) poolalloc_heap_alloc(heap, 200);
  for (int i = 0; i < 20000; i++) blocks[0][i] = malloc(700);
  for (int i = 0; i < 20000; i++)
    if (i % 50 != 0) free(blocks[0][i]);
  kept_block = blocks[0][50];
  malloc_trim(0);
  free_block = malloc(480);
  void *beside = malloc(480);
  free(free_block);
  large_block = malloc(3000000);
  memset(large_block, 1, 1000);
  free(malloc(200000));
  printf("ready %p %p %p\n", kept_block, free_block, large_block);
  char line[20];
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (line[0] == 'j') poolalloc_stats_json(put, NULL);
    if (line[0] == 'x') malloc_info(0, stdout);
    if (line[0] == 'f' && fork() == 0) {
      printf("%d ", getpid());
      poolalloc_stats_json(put, NULL);
      fflush(stdout);
      _exit(0);
    }
    fflush(stdout);
  }
  return 0;
}
"""
# What is not the same a moment later, or from outside.
APART = {"memory": ["resident", "peak_resident"], "retention": ["budget"]}


def poolalloc(*words, **options):
    return subprocess.run([ROOT / "scripts/poolalloc", *map(str, words)], capture_output=True, text=True, timeout=300, **options)


def comparable(figures):
    kept = {key: value for key, value in figures.items() if key not in ("library", "system_calls")}
    # The names of threads are known outside only.
    kept["heaps"] = [{**heap, "name": heap.get("name") if heap["kind"] != "thread" else None} for heap in kept["heaps"]]
    return {section: {key: number for key, number in value.items() if key not in APART.get(section, [])}
            if isinstance(value, dict) else value for section, value in kept.items()}


class Rested:
    """The program at rest."""

    def __init__(self, process):
        self.process = process
        self.pid = process.pid
        word, *addresses = process.stdout.readline().split()
        assert word == "ready"
        self.kept, self.free, self.large = addresses

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@pytest.fixture(scope="module", params=["", "--secure"])
def rested(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("statistics")
    library = poolalloc("path", *request.param.split()).stdout.strip()
    (folder / "resting.c").write_text(PROGRAM)
    subprocess.run(["cc", "-g", "-O0", "-w", "-pthread", "-o", folder / "resting", folder / "resting.c", f"-I{ROOT}/lib/api",
                    f"-I{ROOT}/lib/pool"], check=True)
    with subprocess.Popen([folder / "resting"], env={"LD_PRELOAD": library}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.is_secure = bool(request.param)
        yield Rested(process)
        process.kill()


@pytest.fixture
def ordinary(rested):
    if rested.process.is_secure:
        pytest.skip("the hardened library keeps what was freed")
    return rested


def test_the_same_from_inside_and_outside(rested):
    # COMPAT 74: as JSON
    from_inside = json.loads(rested.ask("json"))
    from_outside = json.loads(poolalloc("stats", "--json", rested.pid).stdout)
    assert comparable(from_inside) == comparable(from_outside)
    assert from_outside["memory"]["resident"] > 10_000_000
    assert any(each["kind"] == "program" and each["name"] == "requests" for each in from_inside["heaps"])
    # Another process has the whole of it too, while this one is stopped.
    os.kill(rested.pid, signal.SIGSTOP)
    stopped = json.loads(poolalloc("stats", "--json", rested.pid).stdout)
    os.kill(rested.pid, signal.SIGCONT)
    assert comparable(stopped) == comparable(from_outside)


def test_heaps_say_whose_they_are(rested):
    heaps = json.loads(poolalloc("stats", "--json", rested.pid).stdout)["heaps"]
    threads = {int(task.name): (task / "comm").read_text().strip() for task in pathlib.Path(f"/proc/{rested.pid}/task").iterdir()}
    assert len(threads) == 4 and "worker 2" in threads.values()
    assert {heap["thread"]: heap["name"] for heap in heaps if heap["kind"] == "thread"} == threads
    assert all(heap["thread"] == 0 for heap in heaps if heap["kind"] != "thread")
    # In a forked child the heap is that of its only thread, which has another number; the others' are nobody's.
    child, figures = rested.ask("fork").split(" ", 1)
    assert [heap["thread"] for heap in json.loads(figures)["heaps"] if heap["kind"] == "thread"] == [int(child)]
    if not rested.process.is_secure:
        assert "thread %d worker 2" % next(number for number in threads if threads[number] == "worker 2") in poolalloc("stats", rested.pid).stdout


def test_figures_add_up(ordinary):
    figures = json.loads(ordinary.ask("json"))
    classes, blocks = figures["classes"], figures["blocks"]
    for of, key in ("live", "live_blocks"), ("under_way", "under_way_blocks"):
        large = figures["large"]["live_blocks"] if of == "live" else 0
        assert blocks[key] == sum(each[of] for each in classes) + large
    for of in "free", "hidden", "untouched":
        assert blocks[f"{of}_bytes"] == sum(each[of] * each["size"] for each in classes)
    assert sum(each["pool_bytes"] + each["spare_bytes"] for each in figures["heaps"]) == figures["memory"]["pools"]
    assert sum(each["live_blocks"] for each in figures["heaps"]) == blocks["live_blocks"] + blocks["under_way_blocks"] - 1
    # A third of each thread's blocks is with the others' frees, a third was freed by the threads themselves.
    assert blocks["under_way_blocks"] > 0 and figures["remote"]["messages"] > 0
    assert figures["large"] == {**figures["large"], "live_blocks": 1, "live_bytes": 3002368}
    assert figures["threads"]["now"] == 4 and figures["misuse"] == {"certain": 0, "foreign": 0}
    of_700 = next(each for each in classes if each["size"] == 704)
    assert of_700["hidden"] > 10_000


def test_every_key_is_in_the_table(rested):
    figures = json.loads(rested.ask("json"))
    said = poolalloc("help", "statistics").stdout
    for section, value in figures.items():
        if section in ("version", "library", "process", "program"):
            continue
        keys = value if isinstance(value, dict) else {key for each in value for key in each} - {"kind", "name"}
        part = re.search(rf"^{section}\b.*\n((?:  .*\n)+)", said, re.M)[1]
        assert set(re.findall(r"^  (\w+) ", part, re.M)) == set(keys)


def test_malloc_info_has_glibcs_shape(rested):
    # COMPAT 74
    rested.process.stdin.write("xml\n")
    rested.process.stdin.flush()
    text = ""
    while "</malloc>" not in text:
        text += rested.process.stdout.readline()
    root = xml.etree.ElementTree.fromstring(text)
    assert (root.tag, root.attrib) == ("malloc", {"version": "1"})
    assert [child.tag for child in root] == ["heap", "total", "total", "total", "system", "system", "aspace", "aspace"]
    heap = root.find("heap")
    assert [child.tag for child in heap] == ["sizes", "total", "total", "system", "system", "aspace", "aspace"]
    sizes = heap.findall("sizes/size")
    assert sizes and all(int(each.get("total")) == int(each.get("to")) * int(each.get("count")) for each in sizes)
    rest = {each.get("type"): each for each in heap.findall("total")}["rest"]
    assert int(rest.get("size")) == sum(int(each.get("total")) for each in sizes)
    mapped = {each.get("type"): each for each in root.findall("total")}["mmap"]
    assert int(mapped.get("count")) >= 1 and int(mapped.get("size")) >= 3_000_000


def test_text_names_classes_and_heaps(ordinary):
    text = poolalloc("stats", ordinary.pid).stdout
    assert re.match(rf"process {ordinary.pid} \(resting\), \S+ MiB resident\n  blocks +live bytes +\S+ MiB  ", text)
    assert re.search(r"^ +704 +\d+ ", text, re.M) and "program requests" in text and "utilisation" in text


@pytest.mark.parametrize("where", ["stderr", "file"])
def test_json_at_the_end(tmp_path, where):
    value = "json" if where == "stderr" else f"json:{tmp_path}/%p.%%.json"
    program = ["env", "-i", f"POOLALLOC_STATS={value}", f"LD_PRELOAD={poolalloc('path').stdout.strip()}", "/bin/echo", "x"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, said = process.communicate()
    assert out == "x\n" and process.returncode == 0
    text = said if where == "stderr" else (tmp_path / f"{process.pid}.%.json").read_text()
    figures = json.loads(text)
    assert figures["program"] == "echo" and figures["process"] == process.pid and figures["blocks"]["live_blocks"] > 0


FILLED = """#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
  static void *blocks[5000];
  const int count = atoi(argv[1]), size = atoi(argv[argc - 1]);
  for (int i = 0; i < count; i++) memset(blocks[i] = malloc(size), 1, size);
  for (int i = 0; i < count; i++) free(blocks[i]);
}
"""


@pytest.mark.parametrize("count, size", [(1, 700000), (3, 200000), (40, 200000), (20, 30000), (100, 7000), (750, 1008), (5000, 496)])
def test_the_peak_misses_little(tmp_path, count, size):
    (tmp_path / "filled.c").write_text(FILLED)
    subprocess.run(["gcc", "-fno-builtin", tmp_path / "filled.c", "-o", tmp_path / "filled"], check=True)
    result = subprocess.run([tmp_path / "filled", str(count), str(size)], capture_output=True, text=True,
                            env={"POOLALLOC_STATS": "1", "LD_PRELOAD": poolalloc("path").stdout.strip()})
    number, unit = re.search(r"peak live +(\S+) (KiB|MiB) in", result.stderr).groups()
    assert float(number) * {"KiB": 1024, "MiB": 1 << 20}[unit] > 0.93 * count * size


# As programs do that show a title in place of their arguments: redis, PostgreSQL, nginx.
TITLED = """#include <string.h>
extern char **environ;
int main(int count, char **arguments) {
  for (char **each = environ; *each != NULL; each++) memset(*each, 'x', strlen(*each));
  for (int i = 0; i < count; i++) memset(arguments[i], 'y', strlen(arguments[i]));
}
"""


@pytest.mark.parametrize("variable, value, made", [
    ("STATS", "json:{}/figures", "figures"), ("STATS", "map:{}/map", "map"), ("STATS", "{}/folder", "folder/*"),
    ("PROFILE", "1:{}/profile", "profile")])
def test_a_program_that_writes_over_its_environment_keeps_its_files(tmp_path, variable, value, made):
    (tmp_path / "folder").mkdir()
    (tmp_path / "titled.c").write_text(TITLED)
    subprocess.run(["gcc", tmp_path / "titled.c", "-o", tmp_path / "titled"], check=True)
    library = poolalloc("path").stdout.strip()
    result = subprocess.run([tmp_path / "titled"], env={f"POOLALLOC_{variable}": value.format(tmp_path), "LD_PRELOAD": library},
                            capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len([path for path in tmp_path.glob(made) if b"titled" in path.read_bytes() or variable == "PROFILE"]) == 1


def test_json_that_cannot_be_written_is_said(tmp_path):
    result = subprocess.run(["env", "-i", f"POOLALLOC_STATS=json:{tmp_path}/none/x", f"LD_PRELOAD={poolalloc('path').stdout.strip()}",
                             "/bin/echo", "x"], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("x\n", f"poolalloc: the figures cannot be written to {tmp_path}/none/x\n")


# --- gdb ------------------------------------------------------------------------------------------------------------

def gdb(*words):
    commands = [word for command in words for word in ("-ex", command)]
    result = subprocess.run(["gdb", "-q", "-nx", "-batch", *commands], capture_output=True, text=True, timeout=120)
    return result.stdout + result.stderr


@pytest.mark.parametrize("of", ["process", "core"])
def test_gdb(ordinary, tmp_path, of):
    # COMPAT 73
    begin = [f"attach {ordinary.pid}"]
    if of == "core":
        assert "Saved corefile" in gdb(*begin, f"generate-core-file {tmp_path}/core")
        begin = [f"file /proc/{ordinary.pid}/exe", f"core-file {tmp_path}/core"]
    text = gdb(*begin, f"source {ROOT}/scripts/gdb/poolalloc.py", f"poolalloc block {ordinary.kept}", f"poolalloc block {ordinary.free}",
               f"poolalloc block (char*){ordinary.large}+5", "poolalloc block 1", f"poolalloc chunk {ordinary.kept}", "poolalloc heaps",
               "poolalloc classes", "poolalloc nothing")
    assert f"block {int(ordinary.kept, 16):#x} of 704 bytes is in use" in text
    assert f"block {int(ordinary.free, 16):#x} of 480 bytes is free" in text
    assert f"large block {int(ordinary.large, 16):#x} of 3002368 bytes, 5 bytes behind its start, is in use" in text
    assert "0x1 is in no memory of the library's" in text
    assert "blocks of 704: " in text and "program requests" in text and "utilisation" in text
    assert "poolalloc block ADDRESS | chunk ADDRESS | classes | heaps" in text


def test_gdb_without_the_library():
    with subprocess.Popen(["sleep", "60"]) as process:
        text = gdb(f"attach {process.pid}", f"source {ROOT}/scripts/gdb/poolalloc.py", "poolalloc heaps")
        process.kill()
    assert "libpoolalloc is not loaded" in text


# --- top ------------------------------------------------------------------------------------------------------------

class Terminal:
    """A program in tmux."""

    def __init__(self, folder, command):
        self.tmux = ["tmux", "-S", str(folder / "tmux")]
        environment = {**os.environ, "TERM": "screen-256color", "LC_ALL": "C.UTF-8"}
        subprocess.run([*self.tmux, "-u", "new-session", "-d", "-x", "140", "-y", "45", f"{command}; echo status $?; sleep 60"],
                       check=True, env=environment)

    def screen(self):
        return subprocess.run([*self.tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True).stdout

    def wait_for(self, pattern):
        until = time.monotonic() + 30
        while not (found := re.search(pattern, self.screen(), re.M)) and time.monotonic() < until:
            time.sleep(0.1)
        assert found, self.screen()
        return self.screen()

    def press(self, key):
        subprocess.run([*self.tmux, "send-keys", key], check=True)

    def close(self):
        subprocess.run([*self.tmux, "kill-server"])


@pytest.fixture
def terminal(tmp_path, ordinary):
    assert shutil.which("tmux")
    terminal = Terminal(tmp_path, f"{ROOT}/scripts/poolalloc top --interval 0.2 {ordinary.pid}")
    yield terminal
    terminal.close()


def block_sizes(screen):
    table = screen.split("utilisation", 1)[1].split("messages sent", 1)[0]
    return [int(size) for size in re.findall(r"^ *(\d+) ", table, re.M)]


def test_top_shows_figures_sorts_and_quits(terminal, ordinary):
    screen = terminal.wait_for(r"over time[^$]*utilisation[^$]*program requests")
    assert f"process {ordinary.pid} (resting), 4 threads, by pools' memory" in screen
    for name in "live", "resident", "kept for reuse", "may be kept", "regret", "given back", "messages / s":
        assert re.search(rf"^ *{name} +\d", screen, re.M), screen
    assert any(bar in screen for bar in "▁▂▃▄▅▆▇█")
    by_memory = block_sizes(screen)
    terminal.press("s")
    by_size = block_sizes(terminal.wait_for("by block size"))
    assert by_size == sorted(by_size) and by_size != by_memory
    terminal.press("q")
    terminal.wait_for("^status 0$")


def test_top_needs_a_terminal(ordinary):
    result = poolalloc("top", ordinary.pid, stdin=subprocess.DEVNULL)
    assert result.returncode == 125 and "needs a terminal" in result.stderr


# --- The map --------------------------------------------------------------------------------------------------------

def test_map_draws_what_there_is(rested, tmp_path):
    text = poolalloc("map", rested.pid).stdout
    rows = re.findall(r"^0x[0-9a-f]{12} (.{64}) (huge|    )$", text, re.M)
    drawn = "".join(cells for cells, _ in rows)
    # 3 MB of a large block, pools that are full and pools that are nearly empty, and memory that is free.
    assert drawn.count("L") >= 45 and "█" in drawn and "▁" in drawn and "." in drawn
    picture = tmp_path / "heap.svg"
    assert poolalloc("map", "--picture", picture, rested.pid).returncode == 0
    root = xml.etree.ElementTree.parse(picture).getroot()
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any("blocks of " in title for title in titles) and "a block of 2.9 MiB" in titles
    picture = tmp_path / "heap.png"
    assert poolalloc("map", rested.pid, "--picture", picture).returncode == 0
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    result = poolalloc("map", rested.pid, "heap.png")
    assert (result.returncode, result.stdout) == (125, "") and result.stderr == "poolalloc: map: unrecognized arguments: heap.png\n"


def test_map_is_coloured_in_a_terminal(tmp_path, ordinary):
    terminal = Terminal(tmp_path, f"{ROOT}/scripts/poolalloc map {ordinary.pid} | tail -1; {ROOT}/scripts/poolalloc map {ordinary.pid}")
    try:
        terminal.wait_for("status 0")
        colored = subprocess.run([*terminal.tmux, "capture-pane", "-p", "-e"], capture_output=True, text=True, check=True).stdout
        assert "\x1b[48;" in colored and "pools, the darker" in colored
    finally:
        terminal.close()


def test_map_at_the_end_of_a_program(tmp_path):
    result = poolalloc("map", "--exit", "--picture", tmp_path / "end.svg", "sh", "-c", "echo out; exit 3")
    assert (result.returncode, result.stdout, result.stderr) == (3, "out\n", "")
    assert ": sh" in (tmp_path / "end.svg").read_text() or "(sh)" in (tmp_path / "end.svg").read_text()
    result = poolalloc("map", "--exit", "ls", "/")
    assert result.returncode == 0 and re.search(r"process \d+ \(ls\): \S+ MiB of pools", result.stdout)
    assert poolalloc("map", "--exit", "no-such-program").returncode == 127
    result = poolalloc("map", "--exit", "sh", "-c", "kill -9 $$")
    assert result.returncode == -9 and "has left no map" in result.stderr
    # Signals are the program's.
    with subprocess.Popen([ROOT / "scripts/poolalloc", "map", "--exit", "sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done"],
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert "(sh)" in process.stdout.read() and process.wait() == 5


# --- Probes and names -----------------------------------------------------------------------------------------------

def test_probes_are_in_the_library():
    if not pathlib.Path("/usr/include/sys/sdt.h").exists() and not list(pathlib.Path("/usr/include").glob("*/sys/sdt.h")):
        pytest.skip("the library was built without sys/sdt.h")
    library = poolalloc("path").stdout.strip()
    notes = subprocess.run(["readelf", "-n", library], capture_output=True, text=True, check=True).stdout
    found = set(re.findall(r"Provider: poolalloc\n\s+Name: (\w+)", notes))
    said = set(re.findall(r"^//   poolalloc:(\w+)\(", (ROOT / "lib/base/probe.h").read_text(), re.M))
    assert found == said and len(said) >= 12


def test_a_probe_stops_a_debugger(tmp_path):
    library = poolalloc("path").stdout.strip()
    if "Provider: poolalloc" not in subprocess.run(["readelf", "-n", library], capture_output=True, text=True).stdout:
        pytest.skip("the library was built without sys/sdt.h")
    text = gdb("set breakpoint pending on", "file /usr/bin/sort", f"set environment LD_PRELOAD {library}", "set startup-with-shell off",
               "break -probe-stap poolalloc:pool_grow", "run --version", "info probes stap poolalloc", "p $_probe_argc")
    assert re.search(r"^stap +poolalloc +heap_attach ", text, re.M) and "$1 = 3" in text, text


# --- What cannot be looked at ---------------------------------------------------------------------------------------

def test_the_end_of_the_process_ends_top(tmp_path):
    with subprocess.Popen(["sleep", "60"], env={"LD_PRELOAD": poolalloc("path").stdout.strip()}) as process:
        terminal = Terminal(tmp_path, f"{ROOT}/scripts/poolalloc top --interval 0.2 {process.pid}")
        try:
            terminal.wait_for(f"process {process.pid} .sleep.")
            process.kill()
            process.wait()
            screen = terminal.wait_for("^status 1$")
            assert re.search(f"^poolalloc: process {process.pid} has ended$", screen, re.M)
        finally:
            terminal.close()


def test_a_library_of_another_version(tmp_path):
    library = tmp_path / "libpoolalloc.so"
    data = pathlib.Path(poolalloc("path").stdout.strip()).read_bytes()
    assert data.count(b"libpoolalloc 0\0") == 1
    library.write_bytes(data.replace(b"libpoolalloc 0\0", b"libpoolalloc 9\0"))
    with subprocess.Popen(["sleep", "60"], env={"LD_PRELOAD": str(library)}) as process:
        time.sleep(0.3)
        results = [poolalloc(*command, process.pid) for command in (["stats"], ["stats", "--json"], ["map"], ["trim"])]
        process.kill()
    for result in results:
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == "poolalloc: the library there is of another version\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user(ordinary):
    words = ["setpriv", "--reuid", "65534", "--clear-groups", ROOT / "scripts/poolalloc", "stats", str(ordinary.pid)]
    result = subprocess.run(words, capture_output=True, text=True, cwd="/", env={**os.environ, "HOME": "/"})
    if "building" in result.stderr or "ermission denied" in result.stderr:
        pytest.skip("another user cannot run what is here")
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(rf"poolalloc: no right to (look at|read the memory of) process {ordinary.pid}\n", result.stderr)


# --- Core files -----------------------------------------------------------------------------------------------------

CORE = r"""
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
enum { kBlocks = 300000 * SCALE };
static void *blocks[kBlocks];
static const size_t kLarge = (size_t)(100 * SCALE) << 20;
int main(void) {
  for (int i = 0; i < kBlocks; i++) memset(blocks[i] = malloc(1000), 1, 1000);
  for (int i = 0; i < 100; i++) memset(malloc(1 << 20), 1, 1 << 20);
  void *large = memset(malloc(kLarge), 1, kLarge);
  for (int i = 0; i < kBlocks; i++) free(blocks[i]);
  free(large);
  abort();
}
"""


@pytest.mark.parametrize("purge, kept", [("on", 76), ("eager", 8)])
@pytest.mark.parametrize("scale", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_free_memory_stays_out_of_core_files(tmp_path, scale, purge, kept):
    # COMPAT 73: of 400 MiB, or of 4 GiB
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith(("|", "/")):
        pytest.skip("core files go elsewhere")
    (tmp_path / "ends.c").write_text(CORE)
    subprocess.run(["cc", "-O0", "-w", f"-DSCALE={scale}", "-o", tmp_path / "ends", tmp_path / "ends.c"], check=True)
    library = poolalloc("path").stdout.strip()
    options = f"POOLALLOC_PURGE={purge} LD_PRELOAD={library}"
    subprocess.run(["sh", "-c", f"ulimit -c unlimited && exec env {options} ./ends"], cwd=tmp_path)
    (core,) = tmp_path.glob("core*")
    # In use are 100 MiB and the program's table. Of what was freed as much may be there as is kept for reuse: 16 MiB, and
    # half of what is in use because the program was fast; besides what the libraries and the process itself need.
    in_use = 100 + (300000 * scale * 8 >> 20)
    assert in_use << 20 <= core.stat().st_blocks * 512 <= (in_use + kept) << 20
