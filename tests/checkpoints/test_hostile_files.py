"""A hostile checkpoint, through every tool that takes one; test_trust.py has all kinds of them.

The tools run in this process, as their command lines start them.
"""

import importlib
import itertools
import os
import random
import sys

import convert_weights
import hostile
import pytest
import torch
from hostile import HAS_STAND_INS
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope

from mmdet_detnet import cli
from mmdet_detnet.checkpoints import make_plain, read_checkpoint
from mmdet_detnet.models import DetNet
from mmdet_detnet.training import launch
from mmdet_detnet.weights import convert_file

FUZZED_FILES = 100
REFUSED = 'hostile.pth is not loaded'


@pytest.fixture(scope='module')
def config(tiny_detector, tmp_path_factory):
    """Write the tiny detector's config with one epoch, which a file of epoch 1 has behind it."""
    config = Config.fromfile(tiny_detector[0])
    config.train_cfg.max_epochs = 1
    config.work_dir = str(tmp_path_factory.mktemp('work_dir'))
    config.default_hooks.logger = None
    file = tiny_detector[0].with_name('short.py')
    config.dump(file)
    return file


@pytest.fixture(scope='module')
def valid(tiny_detector):
    """Make what mmengine's Runner saves after the last epoch."""
    hub = MessageHub('hostile')
    hub.update_scalar('train/loss', 1.0)
    content = torch.load(tiny_detector[1])
    meta = dict(epoch=1, iter=1, seed=0, dataset_meta=content['meta']['dataset_meta'])
    checkpoint = dict(meta=meta, state_dict=content['state_dict'], message_hub=hub.state_dict())
    if not HAS_STAND_INS:
        make_plain(checkpoint)
    return checkpoint


@pytest.fixture(autouse=True)
def unsafe_torch(monkeypatch):
    """Have torch unpickle everything unless a tool tells it not to."""
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    yield
    init_default_scope('mmdet')


@pytest.fixture
def run(config, shapes_root, tmp_path, monkeypatch, capsys):
    """Have a tool read a file; return the error it ended with, or nothing."""

    def command(main, *arguments):
        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments)])
        return main()

    def predict(*arguments):
        if cli.main(['predict', *map(str, arguments)]):
            sys.exit('refused')

    def read(tool, file):
        image = shapes_root / 'val/000000.png'
        start = {
            'test': lambda: command(launch.test, config, file),
            'train': lambda: command(launch.train, config, '--resume', file),
            'predict': lambda: predict(
                config, image, '--checkpoint', file, '--out-dir', tmp_path, '--device', 'cpu'
            ),
            'convert_weights': lambda: command(convert_weights.main, file, '--dry-run'),
            'init_cfg': lambda: warm_start(file),
        }[tool]
        monkeypatch.chdir(tmp_path)
        try:
            start()
        except (Exception, SystemExit) as error:
            return f'{error!r} {capsys.readouterr().err}'
        return ''

    return read


def warm_start(file):
    init_cfg = dict(type='Pretrained', checkpoint=str(file))
    DetNet(depth=59, base_channels=4, init_cfg=init_cfg).init_weights()


TOOLS = ('test', 'train', 'predict', 'convert_weights', 'init_cfg')


@pytest.mark.parametrize('tool', TOOLS)
def test_gadget_is_refused(run, valid, tmp_path, tool):
    marker, file = tmp_path / 'it ran', tmp_path / 'hostile.pth'
    hostile.save_with_gadget(valid, hostile.eval_gadget, marker, file)
    assert REFUSED in run(tool, file)
    assert not marker.exists()


def fuzzed(valid, folder):
    """Make files of both formats, with bytes changed and ends cut off."""
    small = {**valid, 'state_dict': torch.nn.Linear(2, 2).state_dict()}
    originals = []
    for is_zip in (True, False):
        torch.save(small, folder / 'whole.pth', _use_new_zipfile_serialization=is_zip)
        originals.append((folder / 'whole.pth').read_bytes())
    numbers = random.Random(0)
    for original in itertools.islice(itertools.cycle(originals), FUZZED_FILES):
        content = bytearray(original)
        for _ in range(numbers.choice([1, 1, 3, 20])):
            content[numbers.randrange(len(content))] = numbers.randrange(256)
        if numbers.random() < 0.15:
            content = content[: numbers.randrange(len(content))]
        (folder / 'hostile.pth').write_bytes(content)
        yield folder / 'hostile.pth'


@pytest.mark.filterwarnings('ignore')
def test_fuzzed_file_is_read_or_named(valid, tmp_path):
    refused = 0
    for file in fuzzed(valid, tmp_path):
        try:
            assert isinstance(read_checkpoint(file), dict)
        except ValueError as error:
            assert REFUSED in str(error)
            refused += 1
        # Whatever can be read is no file of a kind that the converter knows.
        with pytest.raises(ValueError):
            convert_file(file, None)
    assert FUZZED_FILES / 2 < refused < FUZZED_FILES


SCRIPTS = ('convert_weights', 'benchmark', 'analysis_tools.misalignment')


@pytest.mark.parametrize('tool', SCRIPTS)
def test_entry_point_forces_weights_only(monkeypatch, tool):
    monkeypatch.setattr(sys, 'argv', [tool, '--help'])
    with pytest.raises(SystemExit):
        importlib.import_module(tool).main()
    assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'
    assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ
