import contextlib
import json
import shutil
import sys

import cv2
import image_demo
import numpy as np
import pytest
import torch
from PIL import Image

from mmdet_detnet.data.images import read_image
from mmdet_detnet.evaluation.image_demo import find_problem
from mmdet_detnet.evaluation.prediction_file import PredictionFile


@pytest.fixture(scope='module')
def run_demo(tiny_detector):
    """Run the command line in this process and return its exit status."""

    def run(*arguments):
        config, checkpoint = map(str, tiny_detector)
        arguments = ['image_demo.py', config, checkpoint, '--device', 'cpu', *map(str, arguments)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', arguments)
            return image_demo.main()

    return run


@pytest.fixture
def photos(shapes_root, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    shutil.copy(shapes_root / 'val/000000.png', folder / 'good.png')
    return folder


def read_predictions(out_dir):
    return json.loads((out_dir / 'predictions.json').read_text())


def test_good_missing_and_broken_image(run_demo, photos, tmp_path, capsys):
    good, broken, missing = (photos / f'{name}.png' for name in ('good', 'broken', 'missing'))
    broken.write_bytes(good.read_bytes()[:2000])
    assert run_demo(missing, broken, good, '--out-dir', tmp_path / 'out', '--score-thr', 0) == 1
    errors = capsys.readouterr().err
    assert f'{missing}: no such file' in errors
    assert f'{broken}: cannot be read as an image' in errors
    predictions = read_predictions(tmp_path / 'out')
    assert predictions['failed'] == [str(missing), str(broken)]
    assert [image['path'] for image in predictions['images']] == [str(good)]
    assert cv2.imread(str(tmp_path / 'out/vis/good.png')).shape == (160, 160, 3)


# An image for Ghostscript, which Pillow starts to draw it, whatever the file's name.
POSTSCRIPT = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n'


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """Put a program of that name in front of all others; return the file that it writes."""
    program, marker = tmp_path / 'bin/gs', tmp_path / 'it ran'
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ntouch "{marker}"\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{program.parent}:/usr/bin:/bin')
    monkeypatch.setattr('PIL.EpsImagePlugin.gs_binary', None)
    return marker


@pytest.mark.parametrize('read', [find_problem, lambda path: read_image(path).error])
def test_no_program_is_started_to_draw_an_image(read, photos, ghostscript):
    file = photos / 'hostile.png'
    file.write_bytes(POSTSCRIPT)
    assert 'cannot identify image file' in read(file)
    assert not ghostscript.exists()
    with contextlib.suppress(Exception), Image.open(file) as opened:
        opened.load()
    assert ghostscript.exists()


def test_detections_are_named_boxes_in_the_image(run_demo, photos, tmp_path):
    assert run_demo(photos, '--out-dir', tmp_path / 'out', '--score-thr', 0) == 0
    (image,) = read_predictions(tmp_path / 'out')['images']
    assert image['detections']
    for detection in image['detections']:
        assert detection['label'] in ('circle', 'square', 'triangle')
        left, top, right, bottom = detection['bbox']
        assert 0 <= left <= right <= 160
        assert 0 <= top <= bottom <= 160


def test_score_threshold_holds_for_the_json(run_demo, photos, tmp_path):
    run_demo(photos, '--out-dir', tmp_path / 'all', '--score-thr', 0)
    (image,) = read_predictions(tmp_path / 'all')['images']
    scores = sorted(detection['score'] for detection in image['detections'])
    threshold = scores[len(scores) // 2]
    run_demo(photos, '--out-dir', tmp_path / 'some', '--score-thr', threshold)
    (image,) = read_predictions(tmp_path / 'some')['images']
    kept = sorted(detection['score'] for detection in image['detections'])
    assert kept == [score for score in scores if score > threshold]


def test_images_of_one_name_keep_their_folders(run_demo, photos, tmp_path):
    for folder in ('a', 'b'):
        (photos / folder).mkdir()
        shutil.copy(photos / 'good.png', photos / folder / 'same.png')
    assert run_demo(photos / '*' / '*.png', '--out-dir', tmp_path / 'out') == 0
    pictures = {path.relative_to(tmp_path) for path in (tmp_path / 'out/vis').rglob('*.png')}
    assert {str(path) for path in pictures} == {'out/vis/a/same.png', 'out/vis/b/same.png'}


def test_nothing_is_written_outside_the_folder_of_results(run_demo, photos, tmp_path, monkeypatch):
    work = tmp_path / 'a' / 'b'
    work.mkdir(parents=True)
    original = (photos / 'good.png').read_bytes()
    for path in (work / 'x.png', tmp_path / 'y.png'):
        path.write_bytes(original)
    monkeypatch.chdir(work)
    assert run_demo('x.png', '../../y.png', '--out-dir', 'outputs') == 0
    assert (tmp_path / 'y.png').read_bytes() == original
    written = {str(p.relative_to(work)) for p in (work / 'outputs').rglob('*') if p.is_file()}
    assert written == {
        'outputs/vis/a/b/x.png',
        'outputs/vis/y.png',
        'outputs/predictions.json',
    }


@pytest.mark.parametrize('pattern', ['', '*.jpg'])
def test_no_image_is_an_error(run_demo, tmp_path, capsys, pattern):
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(SystemExit) as stop:
        run_demo(tmp_path / pattern)
    assert stop.value.code == 2
    assert f'No image found: {tmp_path / pattern}' in capsys.readouterr().err


def test_missing_checkpoint_is_named(tiny_detector, photos):
    with pytest.raises(FileNotFoundError, match=r'No such file: absent\.pth'):
        image_demo.detect_images(tiny_detector[0], 'absent.pth', [photos / 'good.png'], 'out')


def test_checkpoint_needs_a_config(tiny_detector, photos):
    with pytest.raises(ValueError, match='config must be a file, unless .*, got None'):
        image_demo.detect_images(None, tiny_detector[1], [photos / 'good.png'], 'out')


def test_image_that_the_detector_cannot_process_costs_that_image(
    run_demo, photos, tmp_path, capsys
):
    cv2.imwrite(str(photos / 'line.png'), np.zeros((1, 20000, 3), np.uint8))
    assert run_demo(photos, '--out-dir', tmp_path / 'out') == 1
    assert f'{photos / "line.png"}: cannot be processed (' in capsys.readouterr().err
    predictions = read_predictions(tmp_path / 'out')
    assert predictions['failed'] == [str(photos / 'line.png')]
    assert [image['path'] for image in predictions['images']] == [str(photos / 'good.png')]


@pytest.mark.parametrize(('classes', 'status'), [((r'$\frac{$', '$', '猫'), 0), (('circle',), 1)])
def test_names_of_classes_in_a_checkpoint_are_any_text_or_cost_the_image(
    classes, status, tiny_detector, photos, tmp_path, monkeypatch, capsys
):
    config, checkpoint = tiny_detector
    content = torch.load(checkpoint, weights_only=True)
    content['meta']['dataset_meta']['classes'] = classes
    torch.save(content, tmp_path / 'other.pth')
    arguments = [config, tmp_path / 'other.pth', photos, '--device', 'cpu', '--out-dir', tmp_path]
    arguments = ['image_demo.py', *map(str, arguments), '--score-thr', '0']
    monkeypatch.setattr(sys, 'argv', arguments)
    assert image_demo.main() == status
    assert ('cannot be processed (IndexError' in capsys.readouterr().err) == bool(status)


def test_checkpoint_of_another_detector_is_refused(tiny_detector, photos, tmp_path, monkeypatch):
    config, checkpoint = tiny_detector
    state = torch.load(checkpoint, weights_only=True)
    state = state.get('state_dict', state)
    key = 'roi_head.bbox_head.fc_cls.bias'
    torch.save({'state_dict': {**state, key: torch.zeros(99)}}, tmp_path / 'other.pth')
    arguments = [config, tmp_path / 'other.pth', photos, '--device', 'cpu', '--out-dir', tmp_path]
    monkeypatch.setattr(sys, 'argv', ['image_demo.py', *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        image_demo.main()
    assert stop.value.code == 2
    monkeypatch.setattr(sys, 'argv', [*sys.argv, '--allow-mismatch'])
    assert image_demo.main() == 0


def test_file_of_predictions_is_valid_after_each_image(tmp_path):
    path = tmp_path / 'out' / 'predictions.json'
    expected = {'score_thr': 0.3, 'images': [], 'failed': []}
    with PredictionFile(path, 0.3) as predictions:
        assert json.loads(path.read_text()) == expected
        for name in ('a' * 200, 'b', 'c'):
            predictions.add(name, [{'label': name, 'score': 0.5}])
            expected['images'].append({'path': name, 'detections': [{'label': name, 'score': 0.5}]})
            assert json.loads(path.read_text()) == expected
            predictions.add_failure(f'not {name}')
            expected['failed'].append(f'not {name}')
            assert json.loads(path.read_text()) == expected
