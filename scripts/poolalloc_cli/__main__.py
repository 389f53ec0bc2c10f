"""The command line: `poolalloc COMMAND`.

Always holds: what is wrong with the call is one line on standard error and exit status 125.
"""
import os
import subprocess
import sys

from . import places
from .arguments import parser
from .places import USAGE_STATUS, Failed


def options_lines():
    lines = ["Set by environment variables, read once when the program starts:"]
    for name, when, fallback, values, meaning in places.options_table():
        later = "" if when == "start" else "; poolalloc_option_set changes it"
        lines += [f"  POOLALLOC_{name.upper()}={values} (default {fallback}{later})", f"      {meaning}"]
    lines.append("A SIZE is a number of bytes, or one with K, M, G or T behind it, as in 1.5G.")
    return lines


def statistics_lines():
    lines = ["Keys of `poolalloc stats --json`, poolalloc_stats_json and POOLALLOC_STATS=json; bytes where nothing else is said.", ""]
    section = None
    for of, key, meaning in places.statistics_table():
        if of != section:
            section = of
            lines.append(f"{section}: a list, one for each size class that has pools" if section == "classes" else
                         f"{section}: a list, with the kind of each; the name of a program's, and from outside that of a thread" if section == "heaps" else section)
        lines.append(f"  {key:18} {meaning}")
    return lines


def check(target):
    from .amounts import size_text
    if target.isdigit():
        from .process import Process
        process = Process(target)
        if not process.is_loaded:
            print(f"no: process {target} has not loaded libpoolalloc")
            return 1
        if process.passes_on():
            print(f"no: libpoolalloc in process {target} passes every call on (POOLALLOC_DISABLE, or the program has a malloc of its own)")
            return 1
        accounts = process.accounts()
        if accounts("mapped") == 0 and accounts("in_use") == 0:
            print(f"no: process {target} has loaded libpoolalloc but allocated nothing from it")
            return 1
        print(f"yes: libpoolalloc serves process {target} ({size_text(accounts('in_use'))} in use, "
              f"{size_text(accounts('mapped'))} of address space)")
        return 0
    from .check import check_program
    verdict, before = check_program(target)
    print("\n".join([*before, *verdict.lines()]))
    return verdict.status


def bench(words):
    root = places.checkout()
    if root is None:
        raise Failed("bench: the benchmarks are in the sources, and this is an installed library")
    return subprocess.run([root / "scripts/bench", *words]).returncode


def show_help(whole, commands, topic):
    if topic == "options":
        print("\n".join(options_lines()))
    elif topic == "statistics":
        print("\n".join(statistics_lines()))
    elif topic is None:
        whole.print_help()
    elif topic in commands.choices:
        commands.choices[topic].print_help()
    else:
        raise Failed(f"help: no such topic: {topic}")
    return 0


def options_behind_process(whole, arguments, said):
    """`map PROCESS OPTIONS` read as `map OPTIONS PROCESS`: what follows a program is its own, but a process has no words."""
    front = arguments[:len(arguments) - len(said.words) - 1]
    again = whole.parse_args([*front, *said.words, "--", said.target])
    if again.target != said.target or again.words:
        raise Failed(f"map: unrecognized arguments: {' '.join(said.words)}")
    return again


def run_command(arguments):
    whole, commands = parser()
    said = whole.parse_args(arguments)
    if said.command == "map" and said.words and not said.exit:
        said = options_behind_process(whole, arguments, said)
    if said.version:
        print(f"poolalloc {places.version()}")
        return 0
    if said.command == "check":
        return check(said.target)
    if said.command == "compare":
        from .compare import compare
        if said.rounds < 1:
            raise Failed("compare: --rounds must be 1 or more")
        words = said.words[1:] if said.words[:1] == ["--"] else said.words
        if not words:
            raise Failed("compare: which program?")
        return compare(words, said.rounds, said.peers)
    if said.command == "bench":
        return bench(said.words)
    if said.command == "options":
        return show_help(whole, commands, "options")
    if said.command == "version":
        print(f"poolalloc {places.version()}\n{places.library()}")
        return 0
    if said.command == "help":
        return show_help(whole, commands, said.topic)
    if said.command is None:
        raise Failed("which command? `poolalloc help` lists them")
    if said.command == "profile":
        from .profile import profile
        return profile(said.target, said.seconds, said.interval, said.by, said.top, said.svg, said.output)
    from . import watch
    if said.command == "map" and said.exit:
        return watch.map_at_exit([said.target, *said.words], said.picture, places.library())
    return {"stats": lambda: watch.stats(said.target, said.json), "top": lambda: watch.top(said.target, said.interval),
            "map": lambda: watch.memory_map(said.target, said.picture), "trim": lambda: watch.trim(said.target, said.wait)}[said.command]()


def main():
    try:
        words = places.take_settings(sys.argv[1:])
        if words[:1] == ["supervise"]:
            from .supervised import Wanted, run
            return run(Wanted(*words[1:5]), words[5], words[6:], places.library())
        status = run_command(words)
        sys.stdout.flush()
        return status
    except Failed as failed:
        print(f"poolalloc: {failed}", file=sys.stderr)
        return failed.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return USAGE_STATUS
    except KeyboardInterrupt:
        return 130


sys.exit(main())
