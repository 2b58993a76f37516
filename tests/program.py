"""Runs a program that is given as text, in a process that can be forked, as `python -c` cannot:
`python -m tests.program 'print("ready")'`."""

import sys

if __name__ == "__main__":
    exec(compile(sys.argv.pop(1), "<program>", "exec"))
