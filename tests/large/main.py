"""`tests/large/run`: runs the selected programs and judges what they did.

A program has passed if its own checks hold under glibc and under the library, both runs have the same result, the library
served the processes that matter, and said nothing on standard error that is not expected.

Always holds: programs run one at a time; the runs of one program are interleaved, glibc's first; the exit status is 0 only
if all passed, 1 if one did not or could not be installed, 2 for wrong arguments.
"""
import argparse
import dataclasses
import fnmatch
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))


@dataclasses.dataclass
class Line:
    """What is known of a program."""
    name: str
    outcome: str = "passed"  # or `failed`, `not installed`
    problems: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    figures: dict = dataclasses.field(default_factory=dict)  # for (`glibc` or `library`, figure)


def parsed():
    parser = argparse.ArgumentParser(prog="tests/large/run", description="Large real programs under the library.",
                                     allow_abbrev=False)
    parser.add_argument("-k", metavar="NAME", default="", help="those whose name has NAME in it; several with commas")
    parser.add_argument("--list", action="store_true", help="list the programs and what each does")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="runs under each allocator; medians count (1)")
    parser.add_argument("--seconds", type=int, default=300, metavar="N",
                        help="how long stress-ng runs under each allocator (300)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the runs, and say where they are")
    return parser.parse_args()


def install(program):
    """Installs a program's packages; why that does not work, or nothing."""
    command = f'. "{ROOT}/scripts/packages.sh" && install_packages "$@"'
    done = subprocess.run(["bash", "-c", command, "packages.sh", *program.packages], stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode == 0:
        return ""
    reasons = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    return (reasons or done.stderr.splitlines() or ["?"])[0]


def library_lines(folder, allowed):
    """What the library has said in the logs of a run, but for what is expected."""
    found = []
    for path in [*(folder / "logs").iterdir(), *(folder / "work").rglob("*.log")]:
        if path.is_file():
            lines = path.read_text(errors="backslashreplace").splitlines()
            found += [line.strip()[:200] for line in lines if "poolalloc:" in line]
    return [line for line in dict.fromkeys(found) if not any(re.search(pattern, line) for pattern in allowed)]


def serving(program, folder):
    """What is wrong with how the library served a run, and what it did there."""
    from poolalloc_cli.stats_file import read_folder
    found = read_folder(folder / "stats")
    problems, notes = [], []
    for executable, least in program.serves.items():
        blocks = [figures.peak_live_blocks for figures in found if fnmatch.fnmatchcase(figures.program, executable)]
        most = max(blocks, default=0)
        if not blocks or most < least:
            problems.append(f"the library did not serve {executable}: {len(blocks)} processes, {most} live blocks at most")
        own = ", because it has an allocator of its own" if blocks and not most else ""
        notes.append(f"{executable}{f' ({len(blocks)} processes)' if len(blocks) > 1 else ''} {most}{own}")
    invalid = sum(figures.invalid_frees for figures in found)
    if invalid and not program.allowed:
        problems.append(f"{invalid} frees of pointers that are not the library's")
    return problems, notes


def one_run(program, base, preload, seconds):
    """Runs a program once, in the same folder as ever; what `measure` says, and the problems and notes of this run."""
    from harness.job import Job
    from harness.measure import in_process
    for name in "work", "logs", "stats":
        shutil.rmtree(base / name, ignore_errors=True)
    report = base / "report"
    report.unlink(missing_ok=True)
    job = Job(base, preload, seconds)

    def action(look):
        job.look = look
        result = program.work(job)
        return {"result": result, "notes": job.notes}
    outcome = in_process(action, preload, program.seconds + 2 * seconds, report)
    done = outcome["result"] or {"result": None, "notes": []}
    outcome["result"], outcome["notes"] = done["result"], done["notes"]
    outcome["problems"] = [outcome["error"]] if outcome["error"] else []
    if preload:
        problems, notes = serving(program, base)
        outcome["problems"] += problems + library_lines(base, program.allowed)
        outcome["notes"] = notes + outcome["notes"]
    return outcome


def prepare(program, base):
    """Makes a program's input, under glibc; what is wrong, or nothing."""
    from harness.job import Job
    from harness.measure import in_process
    (base / "input").mkdir(mode=0o755)
    if not program.prepare:
        return ""
    job = Job(base, None, 0)
    return in_process(lambda look: program.prepare(job), None, program.seconds, base / "report")["error"]


def compared(program, runs):
    """The line of a program that has run; `runs` has the outcomes of each side."""
    line = Line(program.name)
    for side, label in ("glibc", "under glibc: "), ("library", ""):
        for outcome in runs[side]:
            line.problems += [label + problem for problem in outcome["problems"] if label + problem not in line.problems]
    if not line.problems:
        results = [outcome["result"] for side in runs for outcome in runs[side]]
        if any(result != results[0] for result in results):
            line.problems.append(f"results differ: {results[0]!r:.300} and {runs['library'][-1]['result']!r:.300}")
    for side in runs:
        for figure in "wall", "cpu", "peak", "largest":
            values = [outcome[figure] for outcome in runs[side] if outcome.get(figure) is not None]
            if values:
                line.figures[side, figure] = statistics.median(values)
    line.notes = runs["library"][-1]["notes"] + [f"under glibc {note}" for note in runs["glibc"][-1]["notes"]]
    if line.problems:
        line.outcome = "failed"
    return line


def tried(program, arguments, library):
    """Installs, prepares and runs a program; its line."""
    from harness.table import say
    reason = install(program)
    if reason:
        return Line(program.name, "not installed", [reason])
    # Short, because a socket's name must be; and open to others, because servers run as users of their own.
    base = pathlib.Path(tempfile.mkdtemp(prefix="large-", dir="/tmp"))
    base.chmod(0o755)
    try:
        copy = base / "lib" / library.name
        copy.parent.mkdir()
        shutil.copy(library, copy)
        copy.chmod(0o755)
        wrong = prepare(program, base)
        if wrong:
            return Line(program.name, "failed", [f"its input could not be made: {wrong}"])
        runs = {"glibc": [], "library": []}
        for turn in range(arguments.rounds):
            for side, preload in ("glibc", None), ("library", copy):
                say(f"{program.name}: {side}{f', round {turn + 1}' if arguments.rounds > 1 else ''}")
                runs[side].append(one_run(program, base, preload, arguments.seconds))
        return compared(program, runs)
    finally:
        if arguments.keep:
            say(f"{program.name}: what the last run has left is in {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)


def main():
    arguments = parsed()
    import programs  # puts them on the list
    from harness.registry import PROGRAMS
    wanted = [each for each in PROGRAMS.values() if any(part in each.name for part in arguments.k.split(","))]
    if not wanted:
        print(f"large: no program's name has {arguments.k} in it", file=sys.stderr)
        return 2
    if arguments.list:
        for each in wanted:
            print(f"{each.name:14}{each.summary}")
        return 0
    from harness.table import print_table, say_line, write_json
    library = pathlib.Path(os.environ["POOLALLOC_LIB"]).absolute()
    if not library.is_file():
        print(f"large: there is no library {library}", file=sys.stderr)
        return 2
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    lines = []
    for each in wanted:
        lines.append(tried(each, arguments, library))
        say_line(lines[-1])
    print_table(lines)
    if arguments.json:
        write_json(lines, arguments.json)
    return 0 if all(line.outcome == "passed" for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
