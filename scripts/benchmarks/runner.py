"""One run of a program under an allocator, and all runs in their order.

Always holds: runs are interleaved (allocator inside program inside round, another one first in each round),
because machines drift; before each run another process touches as much memory as it will need, because a
virtual machine's first touch of memory is slow for whoever comes first; a run that failed, that printed
something else than the first run of its program, or that was not served by its library is an error with a
reason, never a figure.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess

from .machine import SOURCES, available_mebibytes
from .programs import compile_all
from .progress import progress
from .results import Results

WARM_FIRST_MIB, WARM_MORE_MIB, WARM_MOST_MIB = 300, 100, 2048
FIELDS = (("wall", float), ("user", float), ("system", float), ("rss_kib", int), ("minor_faults", int),
          ("major_faults", int), ("status", int))


def failure(status):
    """In words, what wait's status says; nothing for success."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}" if status != 0 else ""


class Runner:
    def __init__(self, folder, timeout):
        self.folder = pathlib.Path(folder)
        self.timeout = timeout
        tools = compile_all(sorted((SOURCES / "tools").glob("*.c")), self.folder)
        self.measure, self.warm_up = tools["measure"], tools["warm"]
        self.peaks = {}  # MiB by program, under any allocator
        self.outputs = {}  # what a program printed first

    def warm(self, program):
        wanted = self.peaks.get(program.name, WARM_FIRST_MIB) + WARM_MORE_MIB
        subprocess.run([self.warm_up, str(min(wanted, WARM_MOST_MIB, available_mebibytes() // 2))], check=False)

    def execute(self, program, allocator, work):
        """Runs measure; an error, or nothing. What a program leaves running is ended with its process group."""
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        files = {name: work / name for name in ("figures", "output", "errors")}
        command = [self.measure, files["figures"], allocator.library, files["output"], files["errors"],
                   *program.command]
        with open(program.stdin or os.devnull) as stdin:
            process = subprocess.Popen(command, env={**environment, **program.environment}, cwd=work, stdin=stdin,
                                       start_new_session=True)
            try:
                status = process.wait(self.timeout)
                return f"could not be measured ({status})" if status != 0 else ""
            except subprocess.TimeoutExpired:
                return f"did not end within {self.timeout} s"
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()

    def judge(self, program, sample, output, errors):
        """What is wrong with a run, or nothing; adds the program's own figures to the sample."""
        if "cannot be preloaded" in errors:
            return "the library could not be loaded: " + errors.strip().splitlines()[0]
        wrong = failure(sample.pop("status"))
        if wrong:
            return f"{wrong}: {errors.strip()[-200:]}" if errors.strip() else wrong
        if program.same_output and self.outputs.setdefault(program.name, output) != output:
            return "printed something else than before"
        sample["cpu"] = sample["user"] + sample["system"]
        sample["faults"] = sample["minor_faults"] + sample["major_faults"]
        sample["time"] = program.figure(output) if program.figure else sample["wall"]
        if sample["time"] is None:
            return "printed no figure"
        if program.threads:
            operations = re.search(r"^operations (\d+)$", output, re.MULTILINE)
            if not operations:
                return "printed no number of operations"
            sample["rate"] = int(operations.group(1)) / sample["wall"]
        return ""

    def run(self, program, allocator):
        """A sample: figures, or {"error": reason}."""
        work = self.folder / "run"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        error = self.execute(program, allocator, work)
        if error:
            return {"error": error}
        values = (work / "figures").read_text().split()
        sample = {name: kind(value) for (name, kind), value in zip(FIELDS, values)}
        output, errors = ((work / name).read_text(errors="replace") for name in ("output", "errors"))
        error = self.judge(program, sample, output, errors)
        if error:
            return {"error": error}
        self.peaks[program.name] = max(self.peaks.get(program.name, 0), sample["rss_kib"] // 1024)
        return sample

    def run_all(self, programs, allocators, rounds):
        """Every program under every allocator in every round."""
        samples = {program.name: {name: [] for name in allocators} for program in programs}
        order = list(allocators.values())
        with progress(rounds * len(programs) * len(order)) as shown:
            for turn in range(rounds):
                first = turn % len(order)
                for program in programs:
                    for allocator in order[first:] + order[:first]:
                        shown.start(f"round {turn + 1}/{rounds}", program.name, allocator.name)
                        self.warm(program)
                        sample = self.run(program, allocator)
                        samples[program.name][allocator.name].append(sample)
                        shown.finish(program.name, allocator.name, sample.get("error"))
        return Results(samples)
