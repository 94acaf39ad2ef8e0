"""Commands of the set-up: run with a log file, one line of progress, and a sentence on failure."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

from environment_setup import PYTHON, STATE
from environment_setup.checks import AGAIN, SetupError, disk_full

# Isolated from modules in the current folder and the user's; unbuffered for the progress line.
PIP = [str(PYTHON), '-I', '-u', '-m', 'pip']

SECONDS_BETWEEN_LINES = 30
SECONDS_BETWEEN_LOOKS = 0.5
MIB = 2**20

NINJA_STEP = re.compile(r'^\s*\[(\d+)/(\d+)\] ')
PIP_BYTES = re.compile(r'^\s*Progress (\d+) of (\d+)$')
PIP_ACTION = re.compile(r'^\s*(Downloading \S+|Installing collected packages)')
NO_SPACE = re.compile(r'No space left on device|Disk quota exceeded', re.IGNORECASE)
COMPILER_ERROR = re.compile(r':\d+: (fatal )?error: |fatal error: ')
KILLED = re.compile('Killed signal terminated program')
ANY_ERROR = re.compile(r'\berror\b', re.IGNORECASE)
NO_NETWORK = re.compile(
    'NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError'
    '|SSLError|ConnectionResetError|Network is unreachable'
)
# The second is what pip says of constraints when an index answers nothing.
NO_VERSION = re.compile('No matching distribution found|ResolutionImpossible')


def say(text: str) -> None:
    """Print one line now, also into a pipe."""
    print(text, flush=True)


class ProgressLine:
    """Progress of one step: an updating line on a terminal, else a line now and every 30 seconds.

    Args:
        title: What is being done.
        stream: Where the line goes.
    """

    def __init__(self, title: str, stream: TextIO) -> None:
        self.title = title
        self.stream = stream
        self.started = self.shown = time.monotonic()
        self.latest = ''
        if not stream.isatty():
            self._write(f'  {title}\n')

    def update(self, latest: str) -> None:
        """Show the time and how far the step is.

        Args:
            latest: How far, for example ``'12/77'``; empty when nothing new is known.
        """
        self.latest = latest or self.latest
        now = time.monotonic()
        if self.stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            self._write('\r' + self._text(now)[:width].ljust(width))
        elif now - self.shown >= SECONDS_BETWEEN_LINES:
            self.shown = now
            self._write(self._text(now) + '\n')

    def finish(self) -> None:
        """End the line on a terminal, so that other output does not continue it."""
        if self.stream.isatty():
            self._write('\n')

    def _text(self, now: float) -> str:
        details = [self.latest, f'{(now - self.started) / 60:.1f} min']
        return f'  {self.title}: ' + ', '.join(filter(None, details))

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def latest_progress(output: str) -> str:
    """Find how far a command is.

    Args:
        output: A part of what pip or ninja printed.

    Returns:
        The newest progress in it, such as ``'12/77'``; empty if there is none.
    """
    for line in reversed(output.splitlines()):
        if match := NINJA_STEP.match(line):
            return f'{match[1]}/{match[2]}'
        if match := PIP_BYTES.match(line):
            return f'{int(match[1]) // MIB} of {int(match[2]) // MIB} MiB'
        if match := PIP_ACTION.match(line):
            return match[1]
    return ''


def child_environment() -> dict[str, str]:
    """Make the environment variables of the commands.

    Returns:
        The user's variables, with the programs of .venv found first (torch looks for ninja) and
        without what would lead Python to modules outside .venv.
    """
    environment = dict(os.environ)
    for name in ('PYTHONPATH', 'PYTHONHOME'):
        environment.pop(name, None)
    environment['PATH'] = os.pathsep.join([str(PYTHON.parent), environment.get('PATH', '')])
    environment['VIRTUAL_ENV'] = str(PYTHON.parents[1])
    environment.setdefault('PIP_DISABLE_PIP_VERSION_CHECK', '1')
    environment.setdefault('PIP_ROOT_USER_ACTION', 'ignore')
    return environment


def run_logged(
    command: list[str],
    title: str,
    log: Path,
    environment: dict[str, str] | None = None,
    kept_open: tuple[int, ...] = (),
) -> None:
    """Run a command, its output in a log file, its progress on one line.

    Args:
        command: Program and arguments.
        title: What it does, for the progress line and the failure.
        log: The file; a former one is overwritten.
        environment: Its variables; by default those of :func:`child_environment`.
        kept_open: File descriptors that the command inherits.

    Raises:
        SetupError: If it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'wb') as output, open(log, errors='replace') as reader:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment or child_environment(),
            pass_fds=kept_open,
            start_new_session=True,
        )
        _follow(process, reader, ProgressLine(title, sys.stdout))
    if process.returncode != 0:
        raise failure(title, log.read_text(errors='replace'), f'; the full log is {log}')


def _follow(process: subprocess.Popen, reader: TextIO, line: ProgressLine) -> None:
    try:
        while process.poll() is None:
            line.update(latest_progress(reader.read()))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except BaseException:
        # An interrupted set-up must not leave compilers behind: end the whole process group.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    finally:
        line.finish()


def failure(title: str, output: str, where: str = '') -> SetupError:
    """Say why a command failed, from what it printed.

    Args:
        title: What it did.
        output: Its output.
        where: Text that says where the whole output is.

    Returns:
        The error to raise; for an unknown cause the last error lines follow the sentence.
    """
    if NO_SPACE.search(output):
        return disk_full(title)
    if NO_NETWORK.search(output):
        return SetupError(
            f'{title} failed, the package index cannot be reached: check the network and the proxy '
            f'settings, then {AGAIN}.'
        )
    if NO_VERSION.search(output):
        return SetupError(
            f'{title} failed, pip finds no versions that fit: check the network and the package '
            f'indexes that pip is set to, then {AGAIN}{where}.'
        )
    lines = [line.strip()[:300] for line in output.splitlines()]
    errors = list(filter(COMPILER_ERROR.search, lines)) or list(filter(ANY_ERROR.search, lines))
    shown = ''.join(f'\n    {line}' for line in (errors or lines)[-5:])
    advice = '; with `MAX_JOBS=1` it needs less memory' if KILLED.search(output) else ''
    return SetupError(f'{title} failed{advice}{where}. Its last errors are:{shown}')


def pip(arguments: list[str], title: str, log_name: str) -> None:
    """Run pip in .venv.

    Args:
        arguments: Sub-command and arguments.
        title: What it does, for the progress line and the failure.
        log_name: Name of the log file.

    Raises:
        SetupError: If pip fails.
    """
    run_logged([*PIP, *arguments], title, STATE / f'{log_name}.log')


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a few lines of Python in .venv.

    Args:
        script: The lines.
        *arguments: Their ``sys.argv[1:]``.

    Returns:
        The finished process with its output as text.
    """
    return subprocess.run(
        [str(PYTHON), '-I', '-c', script, *arguments],
        capture_output=True,
        text=True,
        env=child_environment(),
    )


def last_words(result: subprocess.CompletedProcess) -> str:
    """Say why Python failed.

    Args:
        result: Of :func:`run_python`.

    Returns:
        The last line of the traceback; empty if it did not fail.
    """
    if result.returncode == 0:
        return ''
    if result.returncode < 0:
        return f'Python was ended by {signal.Signals(-result.returncode).name}'
    lines = result.stderr.strip().splitlines()
    return lines[-1] if lines else f'exit status {result.returncode}'
