"""What a program file is: a script, an ELF file of some kind, or neither.

Always holds: files are read, not run. Names are looked up as a shell does.
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess

from .places import Failed

# Folders' tools that put a script in a program's place, and say which program it stands for.
SHIMS = {"pyenv": ["pyenv", "which"], "rbenv": ["rbenv", "which"], "nodenv": ["nodenv", "which"],
         "goenv": ["goenv", "which"], "jenv": ["jenv", "which"], "asdf": ["asdf", "which"], "mise": ["mise", "which"]}


def find_program(name):
    """The path of a program."""
    found = shutil.which(name)
    if found:
        return found
    path = pathlib.Path(name)
    if path.is_dir():
        raise Failed(f"{name}: is a directory")
    if path.exists():
        raise Failed(f"{name}: not an executable file")
    raise Failed(f"{name}: no such {'file' if '/' in name else 'command'}")


def script_interpreter(path):
    """The words of a script's first line; None if it is no script."""
    with open(path, "rb") as file:
        head = file.read(512)
    if not head.startswith(b"#!"):
        return None
    return head[2:].split(b"\n")[0].decode(errors="replace").strip()


def interpreter_command(line):
    """The program that a script's first line ends in: of `/usr/bin/env -S A=1 NAME -x` NAME."""
    words = line.split(None, 1)
    if not words:
        raise Failed("a script without an interpreter", 1)
    if pathlib.Path(words[0]).name != "env":
        return words[0]
    rest = shlex.split(words[1]) if len(words) > 1 else []
    takes_value = {"-u", "--unset", "-C", "--chdir"}
    while rest:
        word = rest.pop(0)
        if word in takes_value and rest:
            rest.pop(0)
        elif word.startswith("-S") and len(word) > 2:
            rest = shlex.split(word[2:]) + rest
        elif word.startswith("-") or re.match(r"\w+=", word):
            continue
        else:
            return word
    raise Failed("a script whose interpreter is env without a program", 1)


def located(*command):
    """The path that a version manager prints; None: it knows none."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except OSError:
        return None
    found = result.stdout.strip().splitlines()
    return found[-1] if result.returncode == 0 and found and os.path.exists(found[-1]) else None


def shim_target(path):
    """(the tool, the program behind it, or None) if a version manager has put the file in the program's place; else
    None."""
    path = pathlib.Path(path)
    rustup = path.with_name("rustup")
    if path.name != "rustup" and rustup.exists() and os.path.samefile(path, rustup):
        return "rustup", located(rustup, "which", path.name)
    with open(path, "rb") as file:
        text = file.read(4000).decode(errors="replace")
    if not text.startswith("#!"):
        return None
    for tool, which in SHIMS.items():
        if re.search(rf"\bexec\b.*\b{tool}\b.*\b(exec|x)\b", text):
            command = re.search(rf'["\']?(/[^"\'\s]*/{tool})["\']?', text)
            return tool, located(command[1] if command else which[0], which[1], path.name)
    return None
