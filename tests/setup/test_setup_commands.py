"""Progress and failures of the commands that the set-up runs."""

import io
import signal
import subprocess
import sys

import pytest
from environment_setup import commands
from environment_setup.checks import DiskFullError, SetupError

NINJA_OUTPUT = """
  [11/77] c++ -MMD -MF /source/build/nms.o.d -O3 -c /source/nms.cpp -o nms.o
  [12/77] c++ -MMD -MF /source/build/psamask.o.d -O3 -c /source/psamask.cpp -o psamask.o
  /include/c10/core/AutogradState.h:90:45: warning: default member initializers [-Wc++20-extensions]
     90 |   bool grad_layout_enforcement_enabled_ : 1 = true;
"""


@pytest.mark.parametrize(
    'output, progress',
    [
        (NINJA_OUTPUT, '12/77'),
        ('[1/2] c++ -c a.cpp\n', '1/2'),
        ('Collecting torch\nProgress 3145728 of 10485760\n', '3 of 10 MiB'),
        ('  Downloading rich-15.0.0-py3-none-any.whl (310 kB)\n', 'Downloading rich-15.0.0-py3-'),
        ('Installing collected packages: mpmath, torch\n', 'Installing collected packages'),
        ('Looking in indexes: here\n', ''),
        ('an array a[1/2] in a warning\n', ''),
        ('', ''),
    ],
)
def test_latest_progress_is_found_between_other_lines(output, progress):
    found = commands.latest_progress(output)
    assert found.startswith(progress) and bool(found) == bool(progress)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets, in seconds."""
    now = [0.0]
    monkeypatch.setattr(commands.time, 'monotonic', lambda: now[0])
    return now


def test_progress_is_a_line_every_30_seconds_in_a_pipe(clock):
    stream = io.StringIO()
    line = commands.ProgressLine('compiling', stream)
    for clock[0], progress in [(10, '1/77'), (29, ''), (31, ''), (32, '2/77'), (90, '9/77')]:
        line.update(progress)
    assert stream.getvalue() == (
        '  compiling\n  compiling: 1/77, 0.5 min\n  compiling: 9/77, 1.5 min\n'
    )


def test_progress_stays_on_one_line_of_a_terminal(clock):
    stream = Terminal()
    line = commands.ProgressLine('compiling', stream)
    for clock[0], progress in [(1, '1/77'), (2, ''), (60, '2/77')]:
        line.update(progress)
    line.finish()
    shown = [text.rstrip() for text in stream.getvalue().split('\r')]
    assert shown[-1] == '  compiling: 2/77, 1.0 min'
    assert stream.getvalue().count('\n') == 1


def test_output_of_a_command_goes_to_the_log(tmp_path, capsys):
    log = tmp_path / 'new' / 'log'
    commands.run_logged([sys.executable, '-c', 'print("noise")'], 'talking', log)
    assert log.read_text() == 'noise\n'
    assert capsys.readouterr().out == '  talking\n'


def test_failed_command_names_its_log_and_last_error(tmp_path):
    script = 'print("an error of ours"); raise SystemExit(3)'
    with pytest.raises(SetupError) as caught:
        commands.run_logged([sys.executable, '-c', script], 'trying', tmp_path / 'log')
    assert str(tmp_path / 'log') in str(caught.value)
    assert str(caught.value).endswith('an error of ours')


def test_interrupted_command_is_ended(tmp_path, monkeypatch):
    started = []
    popen = subprocess.Popen

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    def interrupt(self, latest):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.subprocess, 'Popen', start)
    monkeypatch.setattr(commands.ProgressLine, 'update', interrupt)
    with pytest.raises(KeyboardInterrupt):
        commands.run_logged(['sleep', '60'], 'sleeping', tmp_path / 'log')
    assert [process.returncode for process in started] == [-signal.SIGTERM]


def test_full_disk_is_recognised():
    output = 'ERROR: Could not install packages: [Errno 28] No space left on device\n'
    error = commands.failure('installing torch', output)
    assert isinstance(error, DiskFullError)
    assert 'the disk filled up (installing torch)' in str(error)


@pytest.mark.parametrize(
    'reason',
    [
        "NewConnectionError('Failed to establish a new connection: [Errno 111] refused')",
        'NameResolutionError("Failed to resolve \'host\' ([Errno -2] Name not known)")',
    ],
)
def test_missing_network_is_recognised(reason):
    output = (
        f'WARNING: Retrying after connection broken by {reason}: /simple/torch/\n'
        'ERROR: No matching distribution found for torch==2.13.0\n'
    )
    message = str(commands.failure('installing torch', output))
    assert 'installing torch failed, the package index cannot be reached' in message
    assert '\n' not in message


def test_error_of_the_compiler_is_shown_before_those_that_follow_from_it():
    output = (
        'nms.cpp:12:3: error: no type named Tensor\n'
        'nms.cpp:90:1: warning: unused\n'
        'RuntimeError: Error compiling objects for extension\n'
        'ERROR: Failed to build mmcv\n'
    )
    lines = str(commands.failure('compiling mmcv', output)).splitlines()
    assert lines[1:] == ['    nms.cpp:12:3: error: no type named Tensor']


def test_killed_compiler_is_taken_for_lack_of_memory():
    output = 'c++: fatal error: Killed signal terminated program cc1plus\n'
    assert 'MAX_JOBS=1' in str(commands.failure('compiling mmcv', output))


def test_commands_find_the_programs_of_the_venv_and_no_foreign_modules(monkeypatch):
    monkeypatch.setenv('PYTHONPATH', '/elsewhere')
    monkeypatch.setenv('PATH', '/usr/bin')
    monkeypatch.setenv('PIP_INDEX_URL', 'https://mirror.example/simple')
    environment = commands.child_environment()
    assert 'PYTHONPATH' not in environment
    assert environment['PATH'] == f'{commands.PYTHON.parent}:/usr/bin'
    assert environment['PIP_INDEX_URL'] == 'https://mirror.example/simple'


@pytest.mark.parametrize(
    'status, printed, reason',
    [
        (0, 'UserWarning: old\n', ''),
        (1, 'Traceback:\n  File\nImportError: libGL.so.1\n', 'ImportError: libGL.so.1'),
        (3, '', 'exit status 3'),
        (-signal.SIGBUS, '', 'Python was ended by SIGBUS'),
    ],
)
def test_reason_why_python_failed(status, printed, reason):
    result = subprocess.CompletedProcess(['python'], status, stdout='', stderr=printed)
    assert commands.last_words(result) == reason
