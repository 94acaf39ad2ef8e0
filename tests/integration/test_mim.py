"""What mim does with the installed package, each by its command line."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config

import mmdet_detnet  # noqa: F401  (lets Runner's checkpoints load)

ROOT = Path(__file__).resolve().parents[2]
DEMO = 'faster-rcnn_detnet59-slim_fpn_shapes'
ONE_EPOCH = [
    '--cfg-options',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=2',
    *[f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')],
    *[f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')],
]


@pytest.fixture(scope='module')
def project(make_project):
    return make_project('mim')


# The programs that mim starts are printed, and run by the tests without the seconds of its import.
PRINT_INSTEAD_OF_STARTING = """
import subprocess
subprocess.check_call = lambda command, env: print('starts:', *command, sep='\\n') or 0
subprocess.check_output = lambda command: b''
from mim.cli import cli
cli()
"""


@pytest.fixture(scope='module')
def find_started(installation):
    """Run mim; the command that it starts, the program first."""

    def find(*arguments, cwd):
        output = installation.python('-c', PRINT_INSTEAD_OF_STARTING, *arguments, cwd=cwd)
        return output.split('starts:\n')[1].splitlines()[:-1]

    return find


@pytest.fixture(scope='module')
def checkpoint(installation, find_started, project):
    """Train the demo's detector by its config's name."""
    options = ['--work-dir', 'trained', *ONE_EPOCH]
    python, *command = find_started('train', 'mmdet_detnet', f'{DEMO}.py', *options, cwd=project)
    assert python == sys.executable
    installation.python(*command, cwd=project)
    return project / 'trained' / 'epoch_1.pth'


def test_train_by_the_name_of_a_config(checkpoint):
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    assert weights['backbone.conv1.weight'].shape[0] == 16


def test_test(installation, find_started, project, checkpoint):
    options = ['--checkpoint', checkpoint, *ONE_EPOCH, '--work-dir', 'tested']
    python, *command = find_started('test', 'mmdet_detnet', f'{DEMO}.py', *options, cwd=project)
    assert python == sys.executable
    installation.python(*command, cwd=project)
    (results,) = project.glob('tested/2*/*.json')
    assert 0 <= json.loads(results.read_text())['coco/bbox_mAP'] <= 1


def test_gridsearch(find_started, installation, tmp_path):
    search = ['--search-args', '--optim_wrapper.optimizer.lr 0.003']
    command = ['gridsearch', 'mmdet_detnet', f'{DEMO}.py', '--work-dir', 'grid', *search]
    _, script, config, *options = find_started(*command, *ONE_EPOCH, cwd=tmp_path)
    assert script == f'{installation.module}/.mim/tools/train.py'
    assert set(ONE_EPOCH) <= set(options)
    # mim reads the script's help first, for the options that it has to add.
    assert '--cfg-options' in installation.python(script, '-h', cwd=tmp_path)
    assert Config.fromfile(tmp_path / config).optim_wrapper.optimizer.lr == 0.003


def test_run_finds_a_tool_by_its_name(installation, find_started, tmp_path):
    options = '--num-train 2 --num-val 1'.split()
    _, *command = find_started(
        'run', 'mmdet_detnet', 'shapes_dataset', 'drawn', *options, cwd=tmp_path
    )
    installation.python(*command, cwd=tmp_path)
    assert len(list((tmp_path / 'drawn').rglob('*.png'))) == 3


def test_search_lists_every_model(installation, tmp_path):
    installation.mim('search', 'mmdet_detnet', '--json', 'models.json', cwd=tmp_path)
    found = json.loads((tmp_path / 'models.json').read_text())
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    metafiles = [yaml.safe_load((ROOT / metafile).read_text()) for metafile in index]
    models = {model['Name'] for metafile in metafiles for model in metafile['Models']}
    assert set(found['config']) == set(models)
    # Without a text here `mim download` ends in a traceback.
    assert all('not published yet' in found['weight'][name] for name in models)


def test_download_of_unpublished_weights_gives_the_flat_config(installation, tmp_path):
    name = 'retinanet-conf_r50_fpn_1x_coco'
    options = ['--config', name, '--dest', 'downloads']
    installation.mim('download', 'mmdet_detnet', *options, cwd=tmp_path)
    (config,) = (tmp_path / 'downloads').iterdir()
    assert not re.search('^_base_', config.read_text(), re.MULTILINE)
    head = Config.fromfile(config).model.bbox_head
    assert head.type == 'mmdet_detnet.ConfidenceRetinaHead'
    assert head.num_classes == 80


USAGE = (ROOT / 'docs' / 'usage.md').read_text().replace(' \\\n    ', ' ').splitlines()
LAUNCHES = [line for line in USAGE if line.startswith('mim ') and '--launcher' in line]
STARTED = [
    'python -m torch.distributed.launch --nproc_per_node=8 --master_port=29500',
    'srun -p PARTITION --gres=gpu:8 --ntasks=16 --ntasks-per-node=8 --cpus-per-task=4 '
    '--kill-on-bad-exit=1 --job-name=conf python -u',
]


@pytest.mark.parametrize(('line', 'started'), zip(LAUNCHES, STARTED, strict=True))
def test_documented_launch_starts_our_script(line, started, find_started, installation, tmp_path):
    command = ' '.join(find_started(*shlex.split(line)[1:], cwd=tmp_path))
    command = command.replace(sys.executable, 'python').replace(f'{installation.module}/', '')
    assert command.startswith(f'{started} .mim/tools/train.py .mim/configs/retinanet_conf/')
    assert re.search(' --launcher [a-z]+ --work-dir work_dirs/conf$', command)
