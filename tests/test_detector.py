"""`Detector`: the commands as methods; docs/tutorial.ipynb goes on from `new` to `predict`."""

import shutil
import signal
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_detnet import Detector
from mmdet_detnet.training import runs


@pytest.fixture(scope='module')
def detector(tiny_detector):
    config, checkpoint = tiny_detector
    return Detector(checkpoint, config=config, device='cpu')


@pytest.fixture
def started(monkeypatch):
    """Start no run: note with what it would be."""
    calls = []

    def train(config, work_dir, epochs, **options):
        calls.append((config, epochs))
        return work_dir / 'best_1.pth'

    monkeypatch.setattr(runs, 'train', train)
    return calls


def test_file_array_and_pillow_image_are_one(detector, shapes_root):
    file = shapes_root / 'val/000000.png'
    image = cv2.imread(str(file))
    results = list(detector.predict([file, image, Image.open(file)], score_thr=0))
    assert len(results) == 3 and len(results[0]) > 0
    for result in results[1:]:
        np.testing.assert_array_equal(result.boxes, results[0].boxes)
        assert result.labels == results[0].labels
    (alone,) = detector.predict(image, score_thr=0)
    np.testing.assert_array_equal(alone.scores, results[0].scores)


def test_tiles_and_wrong_inputs(detector, shapes_root, tmp_path):
    image = np.tile(cv2.imread(str(shapes_root / 'val/000000.png')), (2, 2, 1))
    (whole,) = detector.predict(image, score_thr=0)
    (tiled,) = detector.predict(image, score_thr=0, tiles=160, batch=4)
    assert len(tiled) > len(whole) > 0
    with pytest.raises(FileNotFoundError, match='No image or video found'):
        detector.predict(tmp_path)
    with pytest.raises(ValueError, match='overlap must be'):
        detector.predict(image, tiles=160, overlap=2)


def test_result_with_a_problem_has_no_detections_and_no_picture(detector, tmp_path):
    (tmp_path / 'broken.jpg').write_text('no image')
    (result,) = detector.predict(tmp_path / 'broken.jpg')
    assert 'cannot be read' in result.problem
    assert result.boxes.shape == (0, 4) and result.scores.shape == (0,)
    assert len(result.to_pandas()) == 0
    assert result._repr_jpeg_() is None
    with pytest.raises(ValueError, match=r'broken\.jpg cannot be read .* there is no picture'):
        result.save(tmp_path / 'picture.png')


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((9, 9, 3)), r'got \(9, 9, 3\) and float64'),
        (np.zeros((9, 9), np.uint8), r'got \(9, 9\) and uint8'),
        (Image.new('I;16', (9, 9)), "got the mode 'I;16'"),
    ],
)
def test_images_of_other_types_are_refused(image, message, detector):
    with pytest.raises(ValueError, match=message):
        detector.predict(image)


def test_config_of_a_checkpoint_is_next_to_it(tiny_detector, tmp_path):
    config, checkpoint = tiny_detector
    shutil.copy(checkpoint, tmp_path / 'best.pth')
    with pytest.raises(FileNotFoundError, match=r'no config next to .*best\.pth'):
        Detector(tmp_path / 'best.pth')
    shutil.copy(config, tmp_path)
    (tmp_path / '20260102_030405.py').touch()  # mmengine's copy of a config in the folder
    detector = Detector(tmp_path / 'best.pth')
    assert detector.config == tmp_path / 'config.py'
    with pytest.raises(ValueError, match=r'Detector\.train would not start from'):
        detector.train()  # there is no run to go on with
    shutil.copy(config, tmp_path / 'other.py')
    with pytest.raises(ValueError, match=r'several configs .* \(config\.py, other\.py\)'):
        Detector(tmp_path / 'best.pth')
    with pytest.raises(ValueError, match='config must be None if the file is a config'):
        Detector(tmp_path / 'config.py', config=tmp_path / 'other.py')


def test_other_file_is_named(tmp_path):
    (tmp_path / 'note.txt.jpg').write_text('a note')
    with pytest.raises(ValueError, match=r'note\.txt\.jpg is neither a config \(\.py\), an ONNX'):
        Detector(tmp_path / 'note.txt.jpg')


def test_number_of_epochs_reaches_the_run(tiny_detector, started):
    detector = Detector(tiny_detector[0])
    assert detector.train(epochs=7).name == 'best_1.pth'
    assert started == [(tiny_detector[0], 7)]


def test_run_that_is_stopped_is_an_error_and_no_end_of_a_notebook(tiny_detector, monkeypatch):
    def stop(*arguments, **options):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as after Ctrl-C
        sys.exit(130)

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(runs, 'train', stop)
    with pytest.raises(RuntimeError, match='stopped for the reason above'):
        Detector(tiny_detector[0]).train()
    assert signal.getsignal(signal.SIGINT) is handler


def test_training_does_not_drop_the_weights_of_a_checkpoint_in_silence(detector):
    with pytest.raises(ValueError, match='Detector.train would not start from .*start_from'):
        detector.train()


def test_figures_in_tiles_are_printed(detector, capsys):
    metrics = detector.test(tiles=160)
    assert capsys.readouterr().out.splitlines() == [
        f'{name}: {value:.3f}' for name, value in metrics.items()
    ]


def test_figures_are_printed_and_returned(tiny_detector, tmp_path, capsys):
    config, checkpoint = tiny_detector
    detector = Detector(shutil.copy(checkpoint, tmp_path), config=config, device='cpu')
    metrics = detector.test()
    assert 'coco/bbox_mAP_m' in metrics
    assert 'coco/bbox_mAP_s' not in metrics  # there are no small objects
    assert 0 <= metrics['coco/bbox_mAP'] <= metrics['coco/bbox_mAP_50'] <= 1
    printed, progress = capsys.readouterr()
    assert 'all classes' in printed and 'triangle' in printed
    assert 'Average Precision' not in printed and 'UserWarning' not in progress


def test_onnx_file_needs_a_config_to_be_tested(tmp_path):
    (tmp_path / 'detector.onnx').touch()
    with pytest.raises(ValueError, match=r'Detector\.test needs a config; .*onnx has none'):
        Detector(tmp_path / 'detector.onnx').test()
