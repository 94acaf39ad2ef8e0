"""`mmdet-detnet` answers without torch and ends in a sentence; a script hands its options on."""

import importlib
import inspect
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mmdet_detnet import cli

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


@pytest.mark.parametrize(
    ('error', 'status', 'sentence'),
    [
        (KeyboardInterrupt(), 130, 'interrupted'),
        (
            PermissionError(13, 'Permission denied', 'runs'),
            2,
            "[Errno 13] Permission denied: 'runs'",
        ),
    ],
)
def test_what_stops_a_command_is_one_sentence(error, status, sentence, monkeypatch, capsys):
    def stop(args, rest):
        raise error

    add_options, _, text = cli.COMMANDS['look']
    monkeypatch.setitem(cli.COMMANDS, 'look', (add_options, stop, text))
    assert cli.main(['look', 'config.py']) == status
    assert capsys.readouterr().err == f'mmdet-detnet look: {sentence}\n'


def test_image_demo_is_the_command_predict(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['image_demo.py', 'absent.py', 'image.png'])
    with pytest.raises(SystemExit, match='2'):
        runpy.run_module('image_demo', run_name='__main__')
    assert capsys.readouterr().err == 'mmdet-detnet predict: No such file: absent.py.\n'


def test_last_checkpoint_is_not_called_the_best(monkeypatch, capsys):
    last = Path('run/epoch_2.pth')
    monkeypatch.setattr('mmdet_detnet.training.runs.train', lambda *args, **options: last)
    assert cli.main(['train', 'config.py']) == 0
    assert capsys.readouterr().out.startswith(f'last checkpoint: {last}\n')


def test_options_of_the_sweep_are_arguments_of_its_function(monkeypatch):
    module = importlib.import_module('analysis_tools.sweep_conf_exponent')
    signature = inspect.signature(module.sweep_conf_exponent)
    calls = []

    def sweep(**options):
        calls.append(signature.bind(**options).arguments)
        return {}

    options = '--device cpu --allow-mismatch --cfg-options model.test_cfg.score_thr=0.1'
    monkeypatch.setattr(module, 'sweep_conf_exponent', sweep)
    monkeypatch.setattr(sys, 'argv', ['sweep', 'config.py', 'detector.pth', *options.split()])
    module.main()
    (arguments,) = calls
    assert (arguments['config'], arguments['checkpoint']) == ('config.py', 'detector.pth')
    assert (arguments['options'], arguments['exponents'][0]) == (
        {'cfg_options': {'model.test_cfg.score_thr': 0.1}, 'device': 'cpu', 'allow_mismatch': True},
        0,
    )
