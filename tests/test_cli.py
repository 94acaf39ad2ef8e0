"""`mmdet-detnet` answers without torch; scripts in `tools/` hand their options to a function."""

import importlib
import inspect
import subprocess
import sys

import pytest

from mmdet_detnet import cli

DETECTOR = ['config.py', 'detector.pth', '--device', 'cpu', '--allow-mismatch']
OPTIONS = ['--cfg-options', 'model.test_cfg.score_thr=0.1']
SCRIPTS = {
    'sweep_conf_exponent': ('sweep_conf_exponent', [*DETECTOR, *OPTIONS]),
}

CALL = """
import sys
from mmdet_detnet.cli import main
try:
    main(sys.argv[1:])
finally:
    print({'torch', 'mmdet'} & {*sys.modules})
"""


@pytest.mark.parametrize(
    ('arguments', 'status', 'answer'),
    [
        (['new', '--help'], 0, '--group-by'),
        (['new', 'data', '--model', 'yolo'], 2, "invalid choice: 'yolo'"),
        (['new', 'data', '--epoch-s', '7'], 2, 'unrecognized arguments: --epoch-s 7'),
    ],
)
def test_nothing_heavy_is_imported_for_an_answer(arguments, status, answer):
    program = subprocess.run(
        [sys.executable, '-c', CALL, *arguments], capture_output=True, text=True
    )
    assert program.returncode == status
    assert answer in program.stdout + program.stderr
    assert program.stdout.endswith('set()\n')


def test_overlap_without_tiles_is_refused(capsys):
    assert cli.main(['predict', 'config.py', 'image.jpg', '--overlap', '0.3']) != 0
    assert '--overlap 0.3' in capsys.readouterr().err


@pytest.mark.parametrize('script', SCRIPTS)
def test_options_are_arguments_of_the_function(script, monkeypatch):
    name, command_line = SCRIPTS[script]
    module = importlib.import_module(f'analysis_tools.{script}')
    signature = inspect.signature(getattr(module, name))
    calls = []

    def call(**options):
        signature.bind(**options)
        calls.append(options)
        return {}

    monkeypatch.setattr(module, name, call)
    monkeypatch.setattr(sys, 'argv', [script, *command_line])
    module.main()
    (arguments,) = calls
    assert command_line[0] in arguments.values()
    if '--device' in command_line:
        assert (arguments['checkpoint'], arguments['device']) == ('detector.pth', 'cpu')
        assert arguments['allow_mismatch'] is True
    if '--cfg-options' in command_line:
        assert arguments['cfg_options'] == {'model.test_cfg.score_thr': 0.1}
