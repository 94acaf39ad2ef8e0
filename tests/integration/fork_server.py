"""Run Python programs as fresh processes that have imported the heavy libraries already.

Usage:
    python fork_server.py [MODULE ...]

Reads requests from its input, each a line of JSON: a folder, the arguments of Python (`script.py
...` or `-c code ...`), and a file for what the program prints. Each is run in a fork, and answered
by its exit code in a line. Unless named, nothing of mmdet or of this package is imported before, so
a program that forgets an import fails as it does for a user.
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import sys
from pathlib import Path

IMPORTED_ONCE = (
    'quick_configs mmengine.runner matplotlib.pyplot pandas pkg_resources scipy.stats '
    'torch._dynamo setuptools'
).split()
TESTS = Path(__file__).resolve().parents[1]
TIMEOUT = 240  # seconds


def run_in_fork(folder, arguments, output):
    """Run what Python would run with these arguments, its output in a file; the exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(TIMEOUT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(folder)
    sys.argv = arguments
    if arguments[0] == '-c':
        sys.path.insert(0, '')
        exec(arguments.pop(1), {'__name__': '__main__'})
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        runpy.run_path(arguments[0], run_name='__main__')
    sys.exit()  # by way of Python's own end, as after an error


if __name__ == '__main__':
    sys.path[0] = str(TESTS)  # for quick_configs and frozen_imports
    with contextlib.redirect_stdout(sys.stderr):  # some print when imported
        for name in [*IMPORTED_ONCE, *sys.argv[1:], 'frozen_imports']:
            importlib.import_module(name)
    del sys.path[0]
    for line in sys.stdin:
        print(run_in_fork(*json.loads(line)), flush=True)
