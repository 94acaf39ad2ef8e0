"""Every command printed in the documents is one that its program accepts.

Scripts and ``mmdet-detnet`` read the line with their own parsers and then stop; files, targets and
tests that a line names must exist. README's first example really runs: tests/integration.
"""

import argparse
import importlib.util
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from mmdet_detnet import cli
from mmdet_detnet.data.options import TEMPLATES
from mmdet_detnet.training import launch

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    ROOT / 'SECURITY.md',
    *(ROOT / 'docs').glob('*.md'),
    *(ROOT / 'configs').glob('*/README.md'),
]
BLOCK = re.compile(r'```(?:shell|bash|sh)\n(.*?)```', re.DOTALL)
OTHERS = (
    '. activate cd curl export git jupyter mkdir pip pip3 pytest ruff source srun '
    'tensorboard unzip uv wget'
)
PLACES = ('configs/', 'tools/', 'tests/', 'dev/', 'docs/')


class Parsed(Exception):
    """The program has accepted its command line."""


def printed_lines():
    for document in sorted(DOCUMENTS):
        for block in BLOCK.findall(document.read_text()):
            for line in block.replace('\\\n', ' ').splitlines():
                for command in re.split(r' (?:&&|\|) ', line):
                    if shlex.split(command, comments=True):
                        yield pytest.param(command, id=f'{document.name}: {command[:60]}')


def split(command):
    """Split a command into words, without the variables set for it."""
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):
        words.pop(0)
    return words


@pytest.fixture
def read_only(monkeypatch):
    """Have a program stop once its parser has accepted the command line."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, args=None, namespace=None):
        raise Parsed(parse(self, args, namespace))

    def run(script, arguments):
        monkeypatch.setattr(sys, 'argv', [script, *arguments])
        monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_stop)
        monkeypatch.syspath_prepend(str(ROOT / Path(script).parent))
        with pytest.raises(Parsed):
            runpy.run_path(str(ROOT / script), run_name='__main__')

    return run


def check_cli(words, monkeypatch):
    accepted = []
    commands = {
        name: (add, lambda args, rest: accepted.append((args, rest)) or 0, text)
        for name, (add, _, text) in cli.COMMANDS.items()
    }
    monkeypatch.setattr(cli, 'COMMANDS', commands)
    assert cli.main(words) == 0
    ((args, rest),) = accepted
    if args.command == 'train':
        launch._make_train_parser().parse_args([str(args.config), *rest])
    if args.command == 'test':
        launch._make_test_parser().parse_args([str(args.config), 'a.pth', *rest])


def check_python(words, read_only):
    scripts = [index for index, word in enumerate(words) if word.endswith('.py')]
    if words[:2] == ['-m', 'pytest'] or not scripts:
        assert words[0] != '-m' or importlib.util.find_spec(words[1])
    elif not words[scripts[0]].startswith('.mim'):
        read_only(words[scripts[0]], words[scripts[0] + 1 :])


def check_mim(words):
    name, package, *rest = words
    assert name in ('train', 'test', 'run', 'download', 'search', 'gridsearch', 'install')
    configs = [Path(word).name for word in rest if word.endswith('.py')]
    assert all([*(ROOT / 'configs').rglob(config)] for config in configs)
    if name == 'run':
        assert [*(ROOT / 'tools').rglob(f'{rest[0]}.py')]


def check_make(words):
    targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    assert {word for word in words if '=' not in word} <= set(targets)


@pytest.mark.parametrize('command', printed_lines())
def test_printed_command_is_accepted(command, read_only, monkeypatch, tmp_path):
    program, *words = split(command)
    for word in (program, *words):
        is_made = 'my' in word or 'mine' in word
        if word.startswith(PLACES) and not is_made:
            assert (ROOT / word.split('::')[0]).exists(), word
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 8)
    name = program.rpartition('/')[2]
    if re.fullmatch(r'python[\d.]*', name):
        check_python(words, read_only)
    elif name == 'mmdet-detnet':
        check_cli(words, monkeypatch)
    elif name in ('mim', 'make'):
        (check_mim if name == 'mim' else check_make)(words)
    elif program.startswith('tools/'):
        assert os.access(ROOT / program, os.X_OK)
    else:
        assert name in OTHERS.split()


def test_each_model_of_new_is_in_the_table_that_says_when_to_choose_it():
    section = (ROOT / 'docs' / 'own_data.md').read_text().split('## Which model\n')[1]
    assert re.findall(r'^\| `(\w[\w-]+)` \|', section.split('\n## ')[0], re.M) == list(TEMPLATES)
