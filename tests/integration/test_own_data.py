"""From a folder to a detector by the lines that `mmdet-detnet` prints, with the wheel installed."""

import re
import shlex
import subprocess

import pytest
import torch
from data.folders import CAT, voc_object, write_image, write_text

NUM_IMAGES = 8
NAMES = [f'{number:05}' for number in range(NUM_IMAGES)]


@pytest.fixture(scope='module')
def console(installation):
    """Run a line of `mmdet-detnet` in a folder, in a process that has its imports done."""
    server = type(installation)(
        installation.folder, 'mmdet_detnet.data.project', 'mmdet_detnet.evaluation.report_page'
    )
    script = installation.folder / 'bin' / 'mmdet-detnet'

    def run(line, folder):
        program, *arguments = shlex.split(line)
        assert program == script.name
        return server.python(script, *arguments, cwd=folder)

    yield run
    server.close()


def write_voc(folder):
    """As Kangaroo: the folders have names of their own."""
    for name in NAMES:
        write_image(folder / f'images/{name}.png')
        text = f'<annotation><filename>{name}.png</filename>{voc_object(*CAT)}</annotation>'
        write_text(folder / f'annots/{name}.xml', text)


def run_typed(line, folder, env):
    """Run a line as it is typed: by a shell, in a new process."""
    env = {**env, 'OMP_DISPLAY_ENV': 'VERBOSE'}
    for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT'):
        env.pop(name, None)
    program = subprocess.run(line, shell=True, cwd=folder, env=env, capture_output=True, text=True)
    assert program.returncode == 0, program.stderr[-3000:]
    # Its threads hardly spin. OpenMP says PASSIVE of its default, too, with which they do.
    assert "GOMP_SPINCOUNT = '2000'" in program.stderr
    assert "GOMP_SPINCOUNT = '300000'" not in program.stderr
    return program.stdout


def next_lines(output):
    return output.split('\nNext:\n')[1].splitlines()


def check_training(folder):
    """The one epoch has left a checkpoint with the classes of the folder."""
    (best,) = folder.glob('my_data-detector/faster-rcnn_detnet59-slim/best_*_epoch_1.pth')
    content = torch.load(best, weights_only=True)
    assert content['meta']['dataset_meta']['classes'] == ('cat',)
    assert content['state_dict']['backbone.conv1.weight'].isfinite().all()


def test_every_line_from_voc_to_predictions(installation, console, tmp_path):
    write_voc(tmp_path / 'my data')
    lines = next_lines(console("mmdet-detnet new 'my data' --epochs 1", tmp_path))
    commands = [line.split()[1] for line in lines]
    assert commands == ['train', 'test', 'look', 'predict']
    training = run_typed(lines[0], tmp_path, installation.env)
    check_training(tmp_path)
    # Nothing of pycocotools or mmengine.
    assert not re.search('DONE|INFO', training)
    assert next_lines(training) == lines[1:]
    tested = console(lines[1], tmp_path)
    assert 'all classes' in tested
    assert 'INFO' not in tested
    work_dir = tmp_path / 'my_data-detector/faster-rcnn_detnet59-slim'
    page = console(lines[2], tmp_path).splitlines()[-1].removeprefix('open in a browser: ')
    assert '<h2>Training</h2>' in (tmp_path / page).read_text()
    assert f'{NUM_IMAGES} images done, 0 failed' in console(lines[3], tmp_path)
    predictions = (work_dir / 'predictions/predictions.jsonl').read_text()
    assert len(predictions.splitlines()) == NUM_IMAGES
