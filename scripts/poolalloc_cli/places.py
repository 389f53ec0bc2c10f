"""Where the library and what belongs to it are: in a checkout, or where it is installed. The shell script that starts
this package says so in its first arguments.

Always holds: USAGE_STATUS is the exit status of what is wrong with the call itself, which no program that is run can be
taken for (as of env and nohup).
"""
import importlib
import pathlib
import re
import subprocess
import sys

USAGE_STATUS = 125


class Failed(Exception):
    """What is wrong, in one line, and the exit status that says so."""

    def __init__(self, text, status=USAGE_STATUS):
        super().__init__(text)
        self.status = status


# What the shell script has said: the folder of the sources ("": installed), options.def, statistics.def, poolalloc.h, packages.sh,
# and the library, by a path without spaces and colons, at which LD_PRELOAD splits.
SETTINGS = {"root": "", "options": "", "statistics": "", "header": "", "installer": "", "library": ""}


def take_settings(words):
    """Takes them off the front of the arguments; returns the others."""
    if len(words) < len(SETTINGS):
        raise Failed("start this by `poolalloc`")
    SETTINGS.update(zip(SETTINGS, words))
    return words[len(SETTINGS):]


def library():
    return SETTINGS["library"]


def checkout():
    """The folder of the sources; None where the library is installed."""
    root = pathlib.Path(SETTINGS["root"] or "/nowhere")
    return root if (root / "meson.build").exists() else None


def options_table():
    """(name, when it can be set, default, values, meaning) of every option."""
    text = pathlib.Path(SETTINGS["options"]).read_text()
    return re.findall(r'^OPTION\((\w+), (\w+), "([^"]*)", "([^"]*)", "(.*)"\)$', text, re.M)


def statistics_table():
    """(section, key, meaning) of each figure of a process; of size classes and heaps the section is "classes", "heaps"."""
    text = pathlib.Path(SETTINGS["statistics"]).read_text()
    rows = re.findall(r'^STATISTIC\((\w+), (\w+), .*, "(.*)"\)$', text, re.M)
    for kind, section in ("CLASS", "classes"), ("HEAP", "heaps"):
        rows += [(section, *row) for row in re.findall(rf'^{kind}_STATISTIC\((\w+), .*, "(.*)"\)$', text, re.M)]
    return rows


def version():
    header = pathlib.Path(SETTINGS["header"]).read_text()
    return ".".join(re.search(rf"POOLALLOC_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH"))


def need(module, package):
    """Imports a module that a Debian package brings, which is installed if it is missing."""
    try:
        return __import__(module)
    except ImportError:
        pass
    installer = SETTINGS["installer"]
    result = subprocess.run(["bash", "-c", f'. "{installer}" && install_packages "{package}"'], stdout=sys.stderr)
    if result.returncode != 0:
        raise Failed(f"this needs the package {package}")
    importlib.invalidate_caches()
    return __import__(module)
