"""Break the code on purpose, one line at a time, and check that the tests notice.

    python dev/mutants.py
    python dev/mutants.py --only warm-up

Each fault in ``dev/mutants/*.yml`` replaces one string of one file in a copy of the tree, and names
the tests that must fail. Only these run, in a fork of a process that has already imported the host
libraries, so all faults take minutes.

mutmut and cosmic-ray generate faults with operators on Python code: mutmut only within functions,
cosmic-ray with one test command for all. Neither changes configs, where most unnoticed faults were.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import wait
from pathlib import Path

import pytest
from faults import Fault, read_faults

DEV = Path(__file__).resolve().parent
ROOT = DEV.parent
SECONDS_PER_COPY = 900
LOG, OUTCOME = 'mutant.log', 'mutant.json'
LOG_SHOWN = 2000


@dataclass(frozen=True)
class Verdict:
    """The result of the tests.

    Attributes:
        fault: The fault; None for the unchanged tree.
        unnoticed: Tests that did not fail; for the unchanged tree, tests that failed.
        error: Why there is no result; empty otherwise.
    """

    fault: Fault | None
    unnoticed: tuple[str, ...] = ()
    error: str = ''


def copy_tree(root: Path, folder: Path) -> None:
    """Copy the files that git tracks or does not ignore.

    Args:
        root: The tree.
        folder: Where to copy them.
    """
    command = 'git ls-files -z --cached --others --exclude-standard'.split()
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split('\0')):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)


def judge_all(faults: Sequence[Fault], jobs: int, root: Path = ROOT) -> Iterator[Verdict]:
    """Test the unchanged tree, and the tree with each fault.

    Args:
        faults: The faults.
        jobs: Number of copies that are tested at a time.
        root: The tree.

    Yields:
        A verdict for each, in order of completion.

    Raises:
        ValueError: If a fault cannot be applied.
    """
    tests = tuple(dict.fromkeys(test for fault in faults for test in fault.tests))
    with tempfile.TemporaryDirectory() as name:
        waiting = [
            Copy(Path(name, str(index)), fault, fault.tests if fault else tests)
            for index, fault in enumerate([None, *faults])
        ]
        for fault in faults:
            fault.make_text(root)
        _import_hosts()
        running: list[Copy] = []
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(waiting.pop(0))
                running[-1].make(root)
                running[-1].start()
            wait([copy.process.sentinel for copy in running], timeout=1)
            for copy in [copy for copy in running if copy.is_done()]:
                running.remove(copy)
                yield copy.judge()


@dataclass
class Copy:
    """A copy of the tree and the process that tests it.

    Attributes:
        folder: Folder of the copy.
        fault: Its fault; None for an unchanged copy.
        tests: Pytest ids of its tests.
    """

    folder: Path
    fault: Fault | None
    tests: tuple[str, ...]

    def make(self, root: Path) -> None:
        """Copy the tree and apply the fault."""
        copy_tree(root, self.folder)
        if self.fault:
            (self.folder / self.fault.file).write_text(self.fault.make_text(root))

    def start(self) -> None:
        """Run the tests in a fork of this process."""
        fork = multiprocessing.get_context('fork')
        self.process = fork.Process(target=_test, args=(self.folder, self.tests))
        self.deadline = time.monotonic() + SECONDS_PER_COPY
        self.process.start()

    def is_done(self) -> bool:
        """Tell whether the tests have ended or their time is up."""
        return not self.process.is_alive() or time.monotonic() > self.deadline

    def judge(self) -> Verdict:
        """Read the result of the tests, and remove the copy."""
        self.process.kill()
        self.process.join()
        verdict = self._read_verdict()
        shutil.rmtree(self.folder)
        return verdict

    def _read_verdict(self) -> Verdict:
        file, log = self.folder / OUTCOME, self.folder / LOG
        outcome = json.loads(file.read_text()) if file.is_file() else {}
        if outcome.get('code') not in (0, 1) or not outcome['own']:
            return Verdict(self.fault, error=log.read_text()[-LOG_SHOWN:] or 'no log')
        failed = outcome['failed']
        if self.fault is None:
            return Verdict(None, tuple(failed))
        unnoticed = (test for test in self.tests if not _is_among(test, failed))
        return Verdict(self.fault, tuple(unnoticed))


def _test(folder: Path, tests: tuple[str, ...]) -> None:
    """Run the tests of a copy in its process, and write which failed."""
    os.chdir(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path).resolve() != DEV)]
    os.environ['PYTHONPATH'] = str(folder)
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    failures = _Failures()
    code = pytest.main(['-q', '-p', 'no:cacheprovider', '--tb=line', *tests], plugins=[failures])
    loaded = Path(sys.modules['mmdet_detnet'].__file__)
    outcome = {'code': int(code), 'failed': failures.names, 'own': folder in loaded.parents}
    Path(OUTCOME).write_text(json.dumps(outcome))


class _Failures:
    """Plugin of pytest that lists the failed tests."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.names.append(report.nodeid)


def _is_among(test: str, names: Iterable[str]) -> bool:
    return any(name == test or name.startswith(f'{test}[') for name in names)


def _import_hosts() -> None:
    """Import the slow libraries, but not this package, which differs in every copy."""
    import mmengine.runner  # noqa: F401
    import torch

    torch.set_num_threads(1)
    if find_spec('mmcv._ext'):
        import mmdet.apis  # noqa: F401
        import mmdet.models  # noqa: F401


def main() -> None:
    """Judge the faults, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', default='', help='part of a name or file of the faults to try')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='copies at a time')
    args = parser.parse_args()
    faults = [f for f in read_faults() if args.only in f.name or args.only in f.file]
    bad = 0
    print('| fault | file | killed by |\n|---|---|---|')
    for verdict in judge_all(faults, args.jobs):
        bad += bool(verdict.error or verdict.unnoticed)
        _print(verdict)
    parser.exit(1 if bad else 0, f'{len(faults)} faults, {bad} without the expected verdict\n')


def _print(verdict: Verdict) -> None:
    if verdict.fault is None:
        if verdict.error or verdict.unnoticed:
            print(f'| the tree as it is | | **FAILS** {verdict.unnoticed} {verdict.error} |')
        return
    fault = verdict.fault
    said = '<br>'.join(f'`{test.removeprefix("tests/")}`' for test in fault.tests)
    if verdict.unnoticed:
        said = f'**SURVIVED** {", ".join(verdict.unnoticed)}'
    elif verdict.error:
        said = f'**NO VERDICT** {verdict.error}'
    print(f'| {fault.name} | `{fault.file}` | {said} |', flush=True)


if __name__ == '__main__':
    main()
