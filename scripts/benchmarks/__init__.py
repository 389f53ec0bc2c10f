"""The parts of scripts/bench, one job each.

machine    where things are, messages, packages, a description of this machine
allocators the libraries that are compared, and where Debian's packages keep them
programs   the project's own programs: what they stand for, compiling them
real       real programs and their command lines; inputs makes up what they work on
suite      the programs of a folder that mimalloc-bench built
runner     one run, and all runs in their order; progress shows them
results    medians, spreads, ratios, geometric means; no input or output
report     tables and Markdown; plots draws; micro is the micro-benchmarks from compiling to table

Always holds: a module imports only modules that stand above it in this list, besides machine and results.
"""
