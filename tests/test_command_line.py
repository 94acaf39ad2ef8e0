"""Scripts in ``tools/`` hand their options to a function of the package."""

import importlib
import inspect
import sys

import pytest

DETECTOR = ['config.py', 'detector.pth', '--device', 'cpu', '--allow-mismatch']
OPTIONS = ['--cfg-options', 'model.test_cfg.score_thr=0.1']
SCRIPTS = {
    'contact_sheet': ('make_contact_sheet', DETECTOR),
    'plot_training': ('plot_training', ['work_dir']),
    'sweep_conf_exponent': ('sweep_conf_exponent', [*DETECTOR, *OPTIONS]),
    'sweep_gate_threshold': ('sweep_gate', [*DETECTOR, *OPTIONS]),
}


@pytest.mark.parametrize('script', SCRIPTS)
def test_options_are_arguments_of_the_function(script, monkeypatch):
    name, command_line = SCRIPTS[script]
    module = importlib.import_module(f'analysis_tools.{script}')
    signature = inspect.signature(getattr(module, name))
    calls = []

    def call(**options):
        calls.append(signature.bind(**options).arguments)
        return {}

    monkeypatch.setattr(module, name, call)
    monkeypatch.setattr(sys, 'argv', [script, *command_line])
    module.main()
    (arguments,) = calls
    assert list(arguments.values())[0] == command_line[0]
    if '--device' in command_line:
        assert (arguments['checkpoint'], arguments['device']) == ('detector.pth', 'cpu')
        assert arguments['allow_mismatch'] is True
    if '--cfg-options' in command_line:
        assert arguments['cfg_options'] == {'model.test_cfg.score_thr': 0.1}
