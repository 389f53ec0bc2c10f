"""The command line: `poolalloc COMMAND`.

Always holds: what is wrong with the call is one line on standard error and exit status 125.
"""
import argparse
import os
import subprocess
import sys

from . import places
from .places import USAGE_STATUS, Failed


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Failed(f"{self.prog.split(' ', 1)[-1]}: {message}" if " " in self.prog else message)


def options_lines():
    lines = ["Set by environment variables, read once when the program starts:"]
    for name, when, fallback, values, meaning in places.options_table():
        later = "" if when == "start" else "; poolalloc_option_set changes it"
        lines += [f"  POOLALLOC_{name.upper()}={values} (default {fallback}{later})", f"      {meaning}"]
    lines.append("A SIZE is a number of bytes, or one with K, M, G or T behind it, as in 1.5G.")
    return lines


def parser():
    whole = Parser(prog="poolalloc", allow_abbrev=False,
                   description="Runs programs under libpoolalloc, and looks into them.",
                   epilog="`poolalloc run [--stats] [--secure] PROGRAM [ARGUMENT...]` runs a program with every allocation "
                          "served by the library; `poolalloc path [--secure]` prints the library's path, for LD_PRELOAD.")
    whole.add_argument("--version", action="store_true", help="print the version")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name, text):
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        added.add_argument("--version", action="version", version=f"poolalloc {places.version()}")
        return added
    command("run", "run PROGRAM with every allocation served by the library")
    command("path", "print the path of the library, for LD_PRELOAD")
    check = command("check", "say whether the library serves PROGRAM, which is not run, or the process PID: exit status 0 if "
                             "it does, 1 if not, 2 if a part of the program stays outside")
    check.add_argument("target", metavar="PROGRAM|PID")
    stats = command("stats", "print the figures of a running process")
    stats.add_argument("target", metavar="PID|NAME")
    stats.add_argument("--json", action="store_true", help="as one JSON object")
    top = command("top", "watch the figures of a running process; q quits")
    top.add_argument("target", metavar="PID|NAME")
    top.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between two looks (1)")
    mapped = command("map", "print what the memory of a running process is used for")
    mapped.add_argument("target", metavar="PID|NAME")
    trim = command("trim", "ask a running process to give free memory back")
    trim.add_argument("target", metavar="PID|NAME")
    trim.add_argument("--wait", type=float, default=3.0, metavar="SECONDS", help="for it to come by (3)")
    compare = command("compare", "run PROGRAM under glibc's allocator and the library in turn, and say what that gives")
    compare.add_argument("--rounds", type=int, default=5, metavar="N", help="how often (5)")
    compare.add_argument("--peers", action="store_true", help="also under every other allocator that is installed")
    compare.add_argument("words", nargs=argparse.REMAINDER, metavar="PROGRAM", help="and its arguments")
    bench = command("bench", "run the project's benchmarks: `scripts/bench` of a checkout")
    bench.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    command("options", "print the table of options")
    command("version", "print the version and where the library is")
    help_command = command("help", "print what there is, or the table of options")
    help_command.add_argument("topic", nargs="?", metavar="options|COMMAND")
    return whole, commands


def check(target):
    from .amounts import size_text
    if target.isdigit():
        from .process import Process
        process = Process(target)
        if not process.is_loaded:
            print(f"no: process {target} has not loaded libpoolalloc")
            return 1
        sample = process.sample()
        if sample.mapped == 0 and sample.in_use == 0:
            print(f"no: process {target} has loaded libpoolalloc but allocated nothing from it")
            return 1
        print(f"yes: libpoolalloc serves process {target} ({size_text(sample.in_use)} in use, "
              f"{size_text(sample.mapped)} of address space)")
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
    elif topic is None:
        whole.print_help()
    elif topic in commands.choices:
        commands.choices[topic].print_help()
    else:
        raise Failed(f"help: no such topic: {topic}")
    return 0


def run_command(arguments):
    whole, commands = parser()
    said = whole.parse_args(arguments)
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
    from . import watch
    return {"stats": lambda: watch.stats(said.target, said.json), "top": lambda: watch.top(said.target, said.interval),
            "map": lambda: watch.memory_map(said.target), "trim": lambda: watch.trim(said.target, said.wait)}[said.command]()


def main():
    try:
        if sys.argv[1:2] == ["supervise"]:
            from .supervised import run
            return run(sys.argv[2], sys.argv[3:], places.library())
        return run_command(sys.argv[1:])
    except Failed as failed:
        print(f"poolalloc: {failed}", file=sys.stderr)
        return failed.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return USAGE_STATUS
    except KeyboardInterrupt:
        return 130


sys.exit(main())
