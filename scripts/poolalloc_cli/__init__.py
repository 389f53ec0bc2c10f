"""The command `poolalloc`, all of it but `run`, which is a shell script that becomes the program.

Always holds: what a command finds out goes to standard output, errors to standard error in one line; nothing is
changed in the programs and processes that are looked at, but by `trim`.
"""
