"""`poolalloc profile`, `leaks`, `run --profile` and `run --leaks`: of programs whose allocations are known.

Always holds: the release build is there (./scripts/test makes it). Programs are compiled here, each function that
allocates by itself.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from poolalloc_cli import pprof, report  # noqa: E402
from poolalloc_cli.places import SETTINGS, Failed  # noqa: E402
from poolalloc_cli.symbols import frames_of  # noqa: E402

LIB = str(ROOT / "build/release/libpoolalloc.so")
SITE = "__attribute__((noinline)) void *{name}(size_t n) {{ void *p = {call}; if (n) *(volatile char *)p = 1; return p; }}\n"
HEAD = "#include <pthread.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n" \
       "#include <sys/mman.h>\n#include <unistd.h>\n"


def poolalloc(*words, **keywords):
    return subprocess.run([ROOT / "scripts/poolalloc", *map(str, words)], capture_output=True, text=True, timeout=300,
                          **keywords)


@pytest.fixture
def compiled(tmp_path):
    def compile_one(text, *flags):
        source, program = tmp_path / "program.c", tmp_path / "program"
        source.write_text(HEAD + text)
        subprocess.run(["gcc", "-O1", "-g", "-fno-builtin", "-pthread", "-o", program, source, *flags], check=True)
        return program
    return compile_one


def by_function(path, by):
    """{function: (blocks, bytes)} of what each innermost function of the program has allocated."""
    profile = pprof.read(path)
    found = {}
    for stack in report.stacks(profile, frames_of(profile), by):
        blocks, size = found.get(stack.frames[0].function, (0, 0))
        found[stack.frames[0].function] = blocks + stack.blocks, size + stack.bytes
    return found


def run_profiled(program, path, value, *arguments):
    subprocess.run([program, *arguments], env={**os.environ, "LD_PRELOAD": LIB, "POOLALLOC_PROFILE": f"{value}:{path}"},
                   check=True, timeout=300)


@pytest.mark.parametrize("flags", [[], ["-fomit-frame-pointer"], ["-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"]],
                         ids=["as usual", "no frame pointers", "no tables"])
def test_a_sample_for_each_512_kib_is_right_within_five_per_cent(compiled, tmp_path, flags):
    # COMPAT 75
    program = compiled(SITE.format(name="small", call="malloc(n)") + SITE.format(name="middle", call="calloc(1, n)") +
                       SITE.format(name="large", call="malloc(n)") + """
int main(void) {
  for (int i = 0; i < 40000000; i++) free(small(100));
  for (int i = 0; i < 500000; i++) free(middle(7000));
  void *kept[100] = {0};
  for (int i = 0; i < 30000; i++) { free(kept[i % 100]); kept[i % 100] = large(100000 + i); }
  for (int i = 0; i < 100; i++) free(kept[i]);
  return 0;
}""", *flags)
    run_profiled(program, tmp_path / "p.pb.gz", "512K")
    made = by_function(tmp_path / "p.pb.gz", "alloc")
    expected = {"small": (40_000_000, 4_000_000_000), "middle": (500_000, 3_500_000_000),
                "large": (30_000, sum(100_000 + i for i in range(30_000)))}
    assert set(expected) <= set(made)
    for function, (blocks, size) in expected.items():
        assert made[function][0] == pytest.approx(blocks, rel=0.05) and made[function][1] == pytest.approx(size, rel=0.05)
    live = by_function(tmp_path / "p.pb.gz", "inuse")
    assert not {"small", "middle", "large"} & set(live)


def test_a_parser_of_protocol_buffers_reads_the_file(compiled, tmp_path):
    protoc = shutil.which("protoc")
    if not protoc:
        pytest.skip("protobuf-compiler is not installed")
    program = compiled(SITE.format(name="site", call="malloc(n)") +
                       "int main(void) { for (int i = 0; i < 70000; i++) site(100); return 0; }")
    run_profiled(program, tmp_path / "p.pb.gz", "1")
    (tmp_path / "profile.proto").write_text("""syntax = "proto3";
message ValueType { int64 type = 1; int64 unit = 2; }
message Sample { repeated uint64 location_id = 1; repeated int64 value = 2; }
message Mapping { uint64 id = 1; uint64 memory_start = 2; uint64 memory_limit = 3; uint64 file_offset = 4; int64 filename = 5; }
message Location { uint64 id = 1; uint64 mapping_id = 2; uint64 address = 3; }
message Profile {
  repeated ValueType sample_type = 1; repeated Sample sample = 2; repeated Mapping mapping = 3; repeated Location location = 4;
  repeated string string_table = 6; int64 time_nanos = 9; int64 duration_nanos = 10; ValueType period_type = 11;
  int64 period = 12; repeated int64 comment = 13; int64 default_sample_type = 14;
}""")
    data = subprocess.run(["gzip", "-dc", tmp_path / "p.pb.gz"], capture_output=True, check=True).stdout
    text = subprocess.run([protoc, "--decode=Profile", "profile.proto"], cwd=tmp_path, input=data, capture_output=True,
                          check=True).stdout.decode()
    assert not re.search(r"^\s*\d+:", text, re.M), "fields of unknown numbers"
    strings = re.findall(r'^string_table: "(.*)"', text, re.M)
    assert strings[0] == "" and {"alloc_objects", "inuse_space", "count", "bytes", str(program)} <= set(strings)
    ids = re.findall(r"^location \{\n  id: (\d+)", text, re.M)
    assert len(ids) == len(set(ids)) and set(re.findall(r"^  location_id: (\d+)", text, re.M)) <= set(ids)
    mappings = re.findall(r"^mapping \{\n  id: (\d+)", text, re.M)
    assert set(re.findall(r"^  mapping_id: (\d+)", text, re.M)) <= set(mappings)
    assert "70000" in re.findall(r"^  value: (\d+)", text, re.M) and re.search(r"^period: 1$", text, re.M)
    default = int(re.search(r"^default_sample_type: (\d+)", text, re.M)[1])
    assert strings[default] == "inuse_space"


SLEEPER = SITE.format(name="once", call="malloc(n)") + SITE.format(name="again", call="malloc(n)") + """
int main(int argc, char **argv) {
  for (int i = 0; i < 1000; i++) once(10000);
  puts("ready");
  fflush(stdout);
  if (argc > 1) pause();
  for (;;) { for (int i = 0; i < 1000; i++) free(again(30000)); usleep(100); }
}"""


@pytest.fixture
def running():
    """Starts a program under the library that says when it is ready."""
    started = []

    def start(*words, **environment):
        process = subprocess.Popen(words, env={**os.environ, "LD_PRELOAD": LIB, **environment}, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process
    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_running_process_is_looked_at_for_a_while(compiled, running, tmp_path):
    process = running(compiled(SLEEPER))
    result = poolalloc("profile", process.pid, "--seconds", 1, "--by", "alloc", "-o", tmp_path / "out.pb.gz", "--interval", "64K")
    assert result.returncode == 0 and result.stderr == ""
    assert re.search(r"^program: [0-9.]+ [MG]iB in \d+ blocks allocated in all \(1\.\d s; a sample for each 64\.0 KiB\)$",
                     result.stdout, re.M)
    assert "again (program.c:" in result.stdout and "once" not in result.stdout
    assert by_function(tmp_path / "out.pb.gz", "alloc").keys() == {"again"}
    # It does not go on, and leaves nothing behind.
    from poolalloc_cli.process import Process
    assert not Process(process.pid).profile_is_on()
    assert not list(pathlib.Path("/tmp").glob(f"poolalloc-{process.pid}-*"))
    again = poolalloc("profile", process.pid, "--seconds", 0.5, "--by", "alloc", "--top", 3)
    assert re.search(r"^ *[0-9.]+ [MG]iB +100.0 % +[0-9.]+ [MG]iB +100.0 %  again$", again.stdout, re.M), again
    assert process.poll() is None


def test_a_process_that_samples_already_goes_on(compiled, running, tmp_path):
    process = running(compiled(SLEEPER), POOLALLOC_PROFILE=f"1:{tmp_path}/p.pb.gz")
    now = poolalloc("profile", process.pid, "--by", "inuse")
    assert "9.5 MiB in 1000 blocks" in now.stdout and "each block counted" in now.stdout
    # Of the time between alone.
    for seconds in 0.3, 0.6:
        part = poolalloc("profile", process.pid, "--seconds", seconds, "--by", "alloc")
        assert "again" in part.stdout and "once" not in part.stdout
    from poolalloc_cli.process import Process
    assert Process(process.pid).profile_is_on()


def test_who_asks_at_the_same_time_waits_for_his_turn(compiled, running):
    process = running(compiled(SLEEPER), POOLALLOC_PROFILE="64K:/dev/null/none")
    asking = [subprocess.Popen([ROOT / "scripts/poolalloc", "profile", str(process.pid)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for each in asking:
        said, wrong = each.communicate(timeout=60)
        assert (each.returncode, wrong) == (0, "") and "program: " in said
    assert not list(pathlib.Path("/tmp").glob(f"poolalloc-{process.pid}-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_is_ended_while_he_waits_leaves_no_sampling(compiled, running, number):
    from poolalloc_cli.process import Process
    process = running(compiled(SLEEPER))
    asking = subprocess.Popen([ROOT / "scripts/poolalloc", "profile", str(process.pid), "--seconds", "60"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    until = time.monotonic() + 30
    while not Process(process.pid).profile_is_on() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    asking.send_signal(number)
    said, _ = asking.communicate(timeout=30)
    assert "program: " in said and asking.returncode == 0
    assert not Process(process.pid).profile_is_on()


def test_the_child_of_a_process_that_is_looked_at_does_not_sample(compiled, running):
    from poolalloc_cli.process import Process
    process = running(compiled(SITE.format(name="again", call="malloc(n)") + """
static volatile int wanted;
static void fork_now(int unused) { (void)unused; wanted = 1; }
int main(void) {
  signal(SIGUSR1, fork_now);
  puts("ready");
  fflush(stdout);
  for (;;) {
    for (int i = 0; i < 1000; i++) free(again(30000));
    usleep(100);
    if (!wanted) continue;
    wanted = 0;
    int child = fork();
    if (child != 0) printf("%d\\n", child), fflush(stdout);
  }
}""", "-include", "signal.h"))
    asking = subprocess.Popen([ROOT / "scripts/poolalloc", "profile", str(process.pid), "--seconds", "2"], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while not Process(process.pid).profile_is_on() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    child = int(process.stdout.readline())
    try:
        assert asking.wait(timeout=60) == 0
        assert not Process(process.pid).profile_is_on() and not Process(child).profile_is_on()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_process_that_sleeps_is_told_from_one_that_has_ended(compiled, running):
    process = running(compiled(SLEEPER), "sleep")
    result = poolalloc("profile", process.pid, "--seconds", 0.1)
    assert (result.returncode, result.stdout) == (1, "") and "has not come by in 5 s" in result.stderr
    process.kill()
    process.wait()
    result = poolalloc("profile", process.pid)
    assert (result.returncode, result.stderr) == (1, f"poolalloc: no process {process.pid}\n")


def test_a_flame_graph_has_all_functions(compiled, tmp_path):
    program = compiled(SITE.format(name="left_site", call="malloc(n)") + SITE.format(name="right_site", call="malloc(n)") + """
__attribute__((noinline)) int outer(void) { left_site(3000); right_site(1000); return 0; }
int main(void) { for (int i = 0; i < 100; i++) outer(); return 0; }""")
    run_profiled(program, tmp_path / "p.pb.gz", "1")
    result = poolalloc("profile", tmp_path / "p.pb.gz", "--svg", tmp_path / "p.svg")
    assert "293.0 KiB in 100 blocks (75.0 %), allocated by\n  #0 left_site (program.c:" in result.stdout
    tree = xml.etree.ElementTree.parse(tmp_path / "p.svg")
    titles = [each.text for each in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert any(re.match(r"outer: 390\.6 KiB in 200 blocks, 100\.0 %", title) for title in titles)
    widths = {group.find("{*}title").text.split(":")[0]: float(group.find("{*}rect").get("width"))
              for group in tree.iter("{http://www.w3.org/2000/svg}g")}
    assert widths["left_site"] == pytest.approx(3 * widths["right_site"], rel=0.01)


def test_what_is_killed_leaves_its_last_peak(compiled, tmp_path):
    program = compiled(SITE.format(name="hungry", call="malloc(n)") + """
int main(void) { for (int i = 0; i < 3000; i++) hungry(50000); raise(9); }""".replace("raise(9)", "kill(getpid(), 9)"),
                       "-include", "signal.h")
    result = poolalloc("run", "--profile=64K", program, cwd=tmp_path)
    assert result.returncode == -signal.SIGKILL
    path, = tmp_path.glob("poolalloc-*.pb.gz")
    assert by_function(path, "inuse")["hungry"][1] > 150_000_000 * 0.7
    assert "hungry (program.c:" in result.stderr and f"all of it: poolalloc profile {path.name}" in result.stderr


# --- Leaks ------------------------------------------------------------------------------------------------------

# Each site with how many blocks of it are lost, of how many.
LEAKS = {"lost_small": (7, 7), "lost_large": (3, 3), "lost_list": (50, 50), "lost_cycle": (2, 2), "lost_hidden": (1, 1),
         "lost_by_thread": (5, 5), "lost_realloc": (1, 1), "kept_global": (0, 1), "kept_inside": (0, 1), "kept_list": (0, 50),
         "kept_thread_local": (0, 1), "kept_mapped": (0, 1), "kept_by_large": (0, 1), "kept_large": (0, 1), "kept_stack": (0, 1),
         "kept_other_stack": (0, 1), "kept_key": (0, 1), "kept_running": (0, 1), "kept_behind": (0, 1), "kept_read_only": (0, 1),
         "kept_guarded": (0, 1)}
LEAKING = "".join(SITE.format(name=name, call="realloc(malloc(n / 2), n)" if "realloc" in name else "malloc(n)")
                  for name in LEAKS) + """
void *volatile global, *volatile inside, *volatile list, *volatile large, *volatile behind; volatile uintptr_t hidden;
static __thread void *volatile local;
static pthread_key_t key;
static pthread_barrier_t barrier;
static volatile int is_running;
/* A thread that never waits, so that nobody knows how far it is in its stack. */
static void *runner(void *unused) {
  void *volatile own = kept_running(810);
  is_running = 1;
  while (own != NULL) {}
  return unused;
}
static void *thread(void *unused) {
  for (int i = 0; i < 5; i++) lost_by_thread(600);
  return unused;
}
static void *sleeper(void *unused) {
  void *volatile own = kept_other_stack(800);
  pthread_setspecific(key, kept_key(70));
  pthread_barrier_wait(&barrier);
  pause();
  return own != NULL ? unused : NULL;
}
__attribute__((noinline)) static void work(void) {
  for (int i = 0; i < 7; i++) lost_small(33);
  for (int i = 0; i < 3; i++) lost_large(500000);
  void **last = NULL;
  for (int i = 0; i < 50; i++) { void **one = lost_list(48); *one = last; last = one; }
  void **a = lost_cycle(200), **b = lost_cycle(200);
  *a = b; *b = a;
  hidden = ~(uintptr_t)lost_hidden(90);
  lost_realloc(3000);
  global = kept_global(40);
  inside = (char *)kept_inside(1000) + 777;
  for (int i = 0; i < 50; i++) { void **one = kept_list(48); *one = list; list = one; }
  local = kept_thread_local(60);
  void **mapped = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mapped[5000] = kept_mapped(300);
  void **fixed = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  fixed[77] = kept_read_only(310);
  mprotect(fixed, 1 << 16, PROT_READ);
  /* As large as a thread's stack, and with a guard as that has. */
  char *guarded = mmap(NULL, (8 << 20) + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(guarded + 4096, 8 << 20, PROT_READ | PROT_WRITE);
  ((void **)guarded)[3000] = kept_guarded(320);
  /* 40 bytes are asked for, 48 may be used. */
  behind = malloc(40);
  ((void *volatile *)behind)[5] = kept_behind(330);
  large = kept_large(2000000);
  ((void **)large)[200000] = kept_by_large(50);
  pthread_t one;
  pthread_create(&one, NULL, thread, NULL);
  pthread_join(one, NULL);
  pthread_create(&one, NULL, sleeper, NULL);
  pthread_barrier_wait(&barrier);
  pthread_create(&one, NULL, runner, NULL);
  while (!is_running) {}
}
__attribute__((noinline)) static void wipe(void) { volatile char rest[16384]; memset((void *)rest, 0, sizeof rest); }
int main(void) {
  pthread_key_create(&key, NULL);
  pthread_barrier_init(&barrier, NULL, 2);
  void *volatile own = kept_stack(123);
  work();
  wipe();
  usleep(100000);
  exit(own == NULL);
}"""


def test_a_leak_report_finds_exactly_what_is_lost(compiled, tmp_path):
    program = compiled(LEAKING)
    run_profiled(program, tmp_path / "p.pb.gz", "leaks")
    lost, live = by_function(tmp_path / "p.pb.gz", "lost"), by_function(tmp_path / "p.pb.gz", "inuse")
    assert {name: (lost.get(name, (0, 0))[0], live[name][0]) for name in LEAKS} == LEAKS
    assert set(lost) == {name for name, (count, _) in LEAKS.items() if count}
    program = compiled(LEAKING)
    result = poolalloc("leaks", program)
    assert result.returncode == 0
    assert re.search(r"^poolalloc: leaks of process \d+ \(program\): 1\.4 MiB in 69 blocks that nothing points to$", result.stderr,
                     re.M)
    assert re.search(r"^poolalloc:   2\.3 KiB in 50 blocks \(0\.2 %\), allocated by\npoolalloc:     #0 lost_list \(program\.c:\d+\)\n"
                     r"poolalloc:     #1 work", result.stderr, re.M)
    assert "still in use at its end, and something points there:" in result.stderr


def test_a_static_programs_variables_are_told_from_the_librarys(compiled, tmp_path):
    static = compiled(LEAKING, "-static", str(ROOT / "build/release/libpoolalloc.a"))
    subprocess.run([static], env={"POOLALLOC_PROFILE": f"leaks:{tmp_path}/s.pb.gz"}, check=True, timeout=60)
    lost = by_function(tmp_path / "s.pb.gz", "lost")
    assert {name: lost.get(name, (0, 0))[0] for name in LEAKS} == {name: count for name, (count, _) in LEAKS.items()}


@pytest.mark.parametrize("program, status", [("sh -c 'exit 3'", 3), ("true", 0)])
def test_the_status_for_leaks_is_not_that_of_a_program_without(program, status):
    assert poolalloc("run", "--leaks=7", "sh", "-c", program).returncode == status


def test_the_child_of_threads_does_not_leak_what_they_hold(compiled):
    program = compiled(SITE.format(name="held", call="malloc(n)") + """
static void *worker(void *unused) { void *volatile own = held(99); pause(); return own != NULL ? unused : NULL; }
int main(void) {
  pthread_t one;
  pthread_create(&one, NULL, worker, NULL);
  usleep(100000);
  int status;
  if (fork() == 0) _exit(127);
  wait(&status);
  return WEXITSTATUS(status) != 127;
}""", "-include", "sys/wait.h")
    result = poolalloc("run", "--leaks=7", program)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("value", ["16K", "leaks"])
def test_the_smallest_stacks_are_large_enough(compiled, tmp_path, value):
    """At a new peak, and at the end, which is that of such a thread."""
    program = compiled(SITE.format(name="site", call="malloc(n)") + """
static void *small(void *unused) {
  for (int i = 0; i < 1000; i++) site(50000);
  exit(0);
  return unused;
}
int main(void) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 16384);
  pthread_t one;
  pthread_create(&one, &attributes, small, NULL);
  pause();
}""")
    run_profiled(program, tmp_path / "p.pb.gz", value)
    assert by_function(tmp_path / "p.pb.gz", "inuse")["site"][0] == pytest.approx(1000, rel=0.1)


def test_threads_that_grow_at_the_same_time_share_a_file(compiled, tmp_path):
    program = compiled(SITE.format(name="site", call="malloc(n)") + """
static void *grow(void *unused) { for (int i = 0; i < 20000; i++) site(2000); return unused; }
int main(void) {
  pthread_t threads[8];
  for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, grow, NULL);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
}""")
    result = subprocess.run([program], env={"LD_PRELOAD": LIB, "POOLALLOC_PROFILE": f"64K:{tmp_path}/p.pb.gz"}, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    assert [path.name for path in tmp_path.glob("p.*")] == ["p.pb.gz"]
    assert by_function(tmp_path / "p.pb.gz", "inuse")["site"][0] == pytest.approx(160_000, rel=0.1)
    # Where it cannot be written that is said once.
    result = subprocess.run([program], env={"LD_PRELOAD": LIB, "POOLALLOC_PROFILE": "64K:/nowhere/p.pb.gz"}, capture_output=True,
                            text=True)
    assert result.stderr == "poolalloc: the profile cannot be written to /nowhere/p.pb.gz\n"


def test_the_status_for_leaks(compiled):
    program = compiled(SITE.format(name="site", call="malloc(n)") +
                       "int main(int argc, char **argv) { for (int i = 0; i < 9; i++) site(100); return argc - 1; }")
    assert [poolalloc("run", "--leaks=7", program, *more).returncode for more in ([], ["x"])] == [7, 1]
    assert poolalloc("run", "--leaks", program).returncode == 0


@pytest.mark.parametrize("command", [
    ["/usr/bin/python3", "-c", "import json, re, subprocess; print(len(json.dumps(list(range(9999)))))"],
    ["awk", "BEGIN { for (i = 0; i < 9999; i++) a[i] = i \"x\"; print length(a) }"],
    ["sh", "-c", "for i in 1 2 3; do /bin/echo $i; done"], ["ls", "-lR", "/etc/apt"]], ids=lambda command: command[0])
def test_programs_that_do_not_leak(command):
    result = poolalloc("run", "--leaks=9", *command, env={**os.environ, "PYTHONMALLOC": "malloc"})
    assert result.returncode == 0, result.stderr
    assert " 0 B in 0 blocks that nothing points to" in result.stderr


def test_a_server_that_does_not_leak(tmp_path):
    server = shutil.which("redis-server")
    if not server:
        pytest.skip("redis-server is not installed")
    socket = tmp_path / "socket"
    process = subprocess.Popen([ROOT / "scripts/poolalloc", "run", "--leaks=9", server, "--port", "0", "--unixsocket", socket,
                                "--save", ""], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not socket.exists() and time.monotonic() < until:
        time.sleep(0.05)
    for words in ["eval", "for i = 1, 5000 do redis.call('lpush', 'l' .. i % 7, i); redis.call('set', i, i) end", "0"], \
            ["del", "l1", "l2"], ["shutdown", "nosave"]:
        subprocess.run(["redis-cli", "-s", socket, *words], capture_output=True, timeout=60)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert " 0 B in 0 blocks that nothing points to" in said


def test_without_an_end_nobody_looks_for_leaks():
    result = poolalloc("run", "--leaks", "sh", "-c", "kill -9 $$")
    assert result.returncode == -9 and "no leaks were looked for: sh has not come to its end" in result.stderr


# --- What cannot be ---------------------------------------------------------------------------------------------

def test_what_is_no_profile(tmp_path):
    (tmp_path / "bad").write_bytes(b"\x1f\x8bnothing")
    (tmp_path / "worse").write_bytes(b"x\n")
    (tmp_path / "worst").write_bytes(bytes([0x08, 1]) * 3)
    for name, text in ("bad", "is no profile"), ("worse", "is no profile"), ("worst", "is no profile"), ("none", "No such file"), (".", "Is a directory"):
        result = poolalloc("profile", tmp_path / name)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1) and text in result.stderr
    with pytest.raises(Failed):
        pprof.parse_file(b"")


@pytest.mark.parametrize("words", [["--interval", "0"], ["--interval", "x"], ["--interval", "5Q"], ["--by", "all"], ["--top", "x"],
                                   ["--seconds", "x"], ["--seconds", "-1"], ["--seconds", "nan"], ["--seconds", "inf"]])
def test_wrong_words(words):
    result = poolalloc("profile", "1", *words)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (125, "", 1)


@pytest.mark.parametrize("words", [["--leaks=x"], ["--leaks=256"], ["--leaks="], ["--leaks", "--secure"], ["--profile", "--secure"]])
def test_wrong_options_of_run(words):
    result = poolalloc("run", *words, "true")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (125, "", 1)


@pytest.mark.parametrize("option", ["--svg", "-o"])
def test_outputs_that_cannot_be_written(compiled, running, option):
    process = running(compiled(SLEEPER))
    result = poolalloc("profile", process.pid, "--seconds", "0.1", option, "/nowhere/x")
    assert (result.returncode, result.stderr) == (1, "poolalloc: /nowhere/x: No such file or directory\n")


def test_a_module_that_is_damaged_has_no_names(compiled, tmp_path):
    program = compiled(SITE.format(name="site", call="malloc(n)") + "int main(void) { for (int i = 0; i < 9; i++) site(100); }")
    run_profiled(program, tmp_path / "p.pb.gz", "1")
    whole = program.read_bytes()
    for size in 4, 60, 100, 1000, len(whole) // 2, len(whole) - 100:
        program.unlink()
        program.write_bytes(whole[:size])
        result = poolalloc("profile", tmp_path / "p.pb.gz")
        assert (result.returncode, result.stderr) == (0, "") and "900 B in 9 blocks" in result.stdout


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    for value in f"64K:{tmp_path}/none/p.pb.gz", f"leaks:{tmp_path}":
        result = subprocess.run(["/bin/true"], env={"LD_PRELOAD": LIB, "POOLALLOC_PROFILE": value}, capture_output=True, text=True)
        assert result.returncode == 0
        assert result.stderr == f"poolalloc: the profile cannot be written to {value.split(':')[1]}\n"
    result = subprocess.run(["/bin/true"], env={"LD_PRELOAD": LIB, "POOLALLOC_PROFILE": "x"}, capture_output=True, text=True)
    assert "POOLALLOC_PROFILE=x is not one of 0|SIZE[:FILE]|leaks[:FILE]; using 0" in result.stderr
