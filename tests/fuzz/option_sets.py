"""The option sets that traces run under: which library, which environment, and whether traces share a process.

Always holds: every option of lib/api/options.def is in some set (test_fuzz.py looks). {folder} stands for where the
files of a set go. Who may use it: run and test_fuzz.py.
"""
import collections

Set = collections.namedtuple("Set", "name library environment shares_process", defaults=({}, False))

SETS = [
    Set("plain", "ordinary", {"DISABLE": "another-program"}),
    Set("one process", "ordinary", shares_process=True),
    Set("eager", "ordinary", {"PURGE": "eager", "NAMES": "1", "VERBOSE": "1"}),
    Set("huge pages", "ordinary", {"HUGE_PAGES": "always", "PURGE_FLOOR": "0"}),
    Set("limited", "ordinary", {"LIMIT": "6M", "PURGE_CEILING": "1M", "HUGE_PAGES": "off"}),
    Set("guard", "ordinary", {"GUARD": "3:200"}),
    Set("guard all", "ordinary", {"GUARD": "1", "PROFILE": "4K:{folder}/all.pb.gz"}),
    Set("profile", "ordinary", {"PROFILE": "1:{folder}/each.pb.gz"}),
    Set("leaks", "ordinary", {"PROFILE": "leaks:{folder}/leaks.pb.gz", "STATS": "json:{folder}/figures"}),
    Set("purge thread", "ordinary", {"PURGE_THREAD": "1", "PURGE_FLOOR": "64K", "STATS": "map:{folder}/map"}),
    Set("lenient", "ordinary", {"PURGE": "off", "MISUSE": "warn", "FOREIGN": "ignore", "STATS": "{folder}"}),
    Set("chaos", "chaos", {"PURGE_FLOOR": "256K"}),
    Set("chaos, one process", "chaos", {"PURGE": "eager"}, shares_process=True),
    Set("secure", "secure"),
    Set("secure eager", "secure", {"PURGE": "eager", "LIMIT": "6M"}),
    Set("secure, one process", "secure", shares_process=True),
]


def environment_of(options, folder):
    return {f"POOLALLOC_{name}": value.format(folder=folder) for name, value in options.environment.items()}
