"""The machine under pressure: stress-ng, five hundred processes at once, and QEMU.

Always holds: what runs for a given time says how much it has done, and so does the table.
"""
import hashlib
import os
import re

from harness.job import DATA
from harness.registry import check, program

PROCESSES = 500


@program("stress-ng", serves={"stress-ng*": 20})
def stress_ng(job):
    """allocates, forks and maps for --seconds in eight processes that check what they have written"""
    stressors = ["--malloc", "3", "--malloc-bytes", "256M", "--malloc-pthreads", "2", "--fork", "2", "--vm", "2",
                 "--vm-bytes", "256M", "--pthread", "1"]
    shown = job.run("stress-ng", *stressors, "--verify", "--metrics-brief", "--timeout", f"{job.seconds}s",
                    "--temp-path", job.folder / "tmp")
    text = shown.text + shown.errors
    counted = re.findall(r"metrc: \[\d+\] (malloc|fork|vm|pthread) +(\d+) ", text)
    operations = {name: int(count) for name, count in counted}
    check("successful run completed" in text and len(operations) == 4 and 0 not in operations.values(), text[-600:])
    job.note("operations: " + ", ".join(f"{name} {count}" for name, count in operations.items()))
    return True


@program("xargs", serves={"perl": 500, "xargs": 1})
def xargs(job):
    """starts five hundred processes, with some memory each, that fork, and are all there at once"""
    ready = job.folder / "ready"
    ready.mkdir()
    os.mkfifo(job.folder / "gate")
    (job.folder / "numbers").write_text("".join(f"{n}\n" for n in range(PROCESSES)))
    with open(job.folder / "numbers") as numbers:
        process = job.start(["xargs", "-P", str(PROCESSES), "-n", "1", "perl", DATA / "one.pl"], stdin=numbers)
    job.wait_until(lambda: len(list(ready.iterdir())) == PROCESSES, f"{PROCESSES} processes", timeout=900)
    job.look()
    with open(job.folder / "gate", "w"):
        shown = job.finish(process, timeout=900).text
    expected = []
    for n in range(PROCESSES):
        total = 0
        for k in range(1, 4001):
            total = (total * 31 + int(str(k) * 3) * n % 997) % 1000003
        expected.append(f"{n} {total}")
    found = sorted(shown.splitlines(), key=lambda line: int(line.split()[0]))
    check(found == expected, f"the processes' sums are not right: {found[:5]}")
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


@program("qemu", serves={"qemu-system-x86*": 1000})
def qemu(job):
    """boots a machine of four processors from a sector that counts and says so on its serial line"""
    job.run("gcc", "-m32", "-c", DATA / "boot.S", "-o", "boot.o")
    job.run("ld", "-m", "elf_i386", "-Ttext=0x7c00", "--oformat=binary", "-o", "boot.img", "boot.o")
    image = (job.folder / "boot.img").read_bytes()
    check(len(image) == 512, f"the sector has {len(image)} bytes")
    (job.folder / "boot.img").write_bytes(image + bytes((1 << 20) - 512))
    # The guest ends the machine by the port of isa-debug-exit: its byte, twice and one more, is the exit status.
    devices = ["-device", "isa-debug-exit,iobase=0xf4", "-device", "virtio-rng-pci", "-device", "e1000",
               "-drive", "file=boot.img,format=raw,if=ide", "-serial", f"file:{job.folder}/serial"]
    job.run("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "4", "-m", "256", "-display", "none",
            "-monitor", "none", "-nodefaults", "-no-reboot", *devices, status=2 * 0x21 + 1)
    said = (job.folder / "serial").read_text()
    check(said == "counted\n" * 200, f"the guest says {said[-100:]!r}")
    return said
