"""`mmdet-detnet predict`: what is found, written, said and refused."""

import json
import shutil
import sys
import warnings

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from test_sources import write_video

from mmdet_detnet.cli import main
from mmdet_detnet.evaluation import prediction_folder
from mmdet_detnet.evaluation.predict import Predictor
from mmdet_detnet.evaluation.prediction_folder import write_predictions
from mmdet_detnet.evaluation.sources import find_sources, read_frames
from mmdet_detnet.evaluation.tiles import Tiles


@pytest.fixture(scope='module')
def predictor(tiny_detector):
    return Predictor(*tiny_detector, device='cpu')


@pytest.fixture
def squares(predictor, monkeypatch):
    """Instead of the detector, find white squares; the sizes of the images of each batch."""
    batches = []

    def detect(images):
        batches.append([image.shape[:2] for image in images])
        return [find_white(image) for image in images]

    monkeypatch.setattr(predictor, '_detect', detect)
    return batches


def find_white(image):
    if image.shape[1] == 13:
        raise ZeroDivisionError('an unlucky width')
    _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 200).astype(np.uint8))
    corners = torch.tensor(stats[1:, :4], dtype=torch.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    scores = torch.linspace(0.9, 0.4, len(corners))
    labels = torch.ones(len(corners), dtype=torch.long)
    return InstanceData(bboxes=corners, scores=scores, labels=labels)


def draw(path, size=(160, 120), *corners):
    image = np.zeros((*size[::-1], 3), np.uint8)
    for x, y in corners:
        image[y : y + 10, x : x + 10] = 255
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


@pytest.fixture
def photos(tmp_path):
    """A folder with a white square in one image and two in another."""
    draw(tmp_path / 'photos/a.png', (160, 120), (20, 30))
    draw(tmp_path / 'photos/b.png', (160, 120), (20, 30), (100, 50))
    return tmp_path / 'photos'


def read_lines(out):
    return [json.loads(line) for line in (out / 'predictions.jsonl').read_text().splitlines()]


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}


def predict(detector, *arguments):
    config, checkpoint = map(str, detector)
    options = ['--checkpoint', checkpoint, '--device', 'cpu']
    return main(['predict', config, *map(str, arguments), *options])


def test_images_become_pictures_and_lines(predictor, squares, photos, tmp_path):
    assert write_predictions(predictor, [photos], tmp_path / 'out') == (2, 0)
    first, second = read_lines(tmp_path / 'out')
    assert first['path'] == str(photos / 'a.png')
    assert first['detections'] == [
        {'label': 'square', 'score': pytest.approx(0.9), 'bbox': [20, 30, 30, 40]}
    ]
    assert [each['bbox'] for each in second['detections']] == [[20, 30, 30, 40], [100, 50, 110, 60]]
    picture = cv2.imread(str(tmp_path / 'out/vis/a.png'))
    assert picture.shape == (120, 160, 3)
    assert (picture != cv2.imread(str(photos / 'a.png'))).any()


def test_broken_missing_and_unlucky_images_cost_no_other(
    predictor, squares, photos, tmp_path, capsys
):
    (photos / 'c.png').write_bytes((photos / 'a.png').read_bytes()[:150])
    draw(photos / 'd.png', (13, 40))
    inputs = [photos, photos / 'absent.png']
    assert write_predictions(predictor, inputs, tmp_path / 'out', batch=3) == (2, 3)
    problems = [line.get('problem', '') for line in read_lines(tmp_path / 'out')]
    assert problems[:2] == ['', '']
    assert 'cannot be read as an image' in problems[2]
    assert problems[3] == 'cannot be processed (ZeroDivisionError: an unlucky width)'
    assert problems[4] == 'no such file'
    errors = capsys.readouterr().err
    for name, problem in zip(('c', 'd', 'absent'), problems[2:], strict=True):
        assert f'{photos / name}.png: {problem}' in errors
    # The unlucky one was tried with the others, then each alone.
    assert [len(batch) for batch in squares] == [2, 1]


def test_batches_and_the_score_threshold_keeps_what_reaches_it(
    predictor, squares, photos, tmp_path
):
    write_predictions(predictor, [photos] * 2, tmp_path / 'out', score_thr=0.9, batch=2)
    assert [len(batch) for batch in squares] == [2]
    scores = [
        [each['score'] for each in line['detections']] for line in read_lines(tmp_path / 'out')
    ]
    assert scores == [[pytest.approx(0.9)]] * 2


def test_video_becomes_a_video_and_a_line_a_frame(predictor, squares, tmp_path):
    video = write_video(tmp_path / 'movie.avi', 7, 'MJPG')
    assert write_predictions(predictor, [video], tmp_path / 'out', every=2) == (4, 0)
    lines = read_lines(tmp_path / 'out')
    assert [(line['frame'], line['time']) for line in lines] == [
        (0, 0.0),
        (2, 0.2),
        (4, 0.4),
        (6, 0.6),
    ]
    frames = list(read_frames(find_sources([tmp_path / 'out/vis/movie.avi.mp4'])))
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 4
    assert frames[0].rate == 5


def test_interrupted_run_leaves_valid_files(tiny_detector, tmp_path, monkeypatch, capsys):
    video = write_video(tmp_path / 'movie.mp4', 6)

    def interrupt(sources, every):
        for frame in read_frames(sources, every):
            if frame.number == 3:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(prediction_folder, 'read_frames', interrupt)
    assert predict(tiny_detector, video, '--out-dir', tmp_path / 'out') == 130
    assert len(read_lines(tmp_path / 'out')) == 3
    assert len(list(read_frames(find_sources([tmp_path / 'out/vis/movie.mp4'])))) == 3
    assert 'interrupted' in capsys.readouterr().out


def test_frame_of_another_size_is_named(predictor, squares, tmp_path, monkeypatch):
    video = write_video(tmp_path / 'movie.mp4', 3)

    def crop(sources, every):
        for frame in read_frames(sources, every):
            yield frame._replace(image=frame.image[: 48 - frame.number])

    monkeypatch.setattr(prediction_folder, 'read_frames', crop)
    assert write_predictions(predictor, [video], tmp_path / 'out') == (1, 2)
    line = read_lines(tmp_path / 'out')[1]
    assert 'the first frame has another size, 64 x 48' in line['problem']
    assert line['detections'] == []  # of a dark frame


@pytest.mark.parametrize(('rate', 'written'), [(29.971, 29.971), (239.977, 240)])
def test_video_of_any_rate_is_written(rate, written, predictor, squares, tmp_path, monkeypatch):
    video = write_video(tmp_path / 'movie.mp4', 3)
    frames = [frame._replace(rate=rate) for frame in read_frames(find_sources([video]))]
    monkeypatch.setattr(prediction_folder, 'read_frames', lambda sources, every: frames)
    assert write_predictions(predictor, [video], tmp_path / 'out') == (3, 0)
    (first, *_) = read_frames(find_sources([tmp_path / 'out/vis/movie.mp4']))
    assert first.rate == pytest.approx(written)


def test_mosaic_of_4000_x_3000_in_tiles(predictor, squares, tmp_path):
    corners = {(x, y) for x in range(5, 3990, 249) for y in range(7, 2990, 248)}
    image = draw(tmp_path / 'mosaic.png', (4000, 3000), *corners)
    frames = read_frames(find_sources([image]))
    (result,) = predictor.predict(frames, 0.0, batch=8, tiles=Tiles(640, 0.2))
    assert {tuple(box[:2]) for box in result.boxes.tolist()} == corners
    assert len(result) == len(corners)
    assert [len(batch) for batch in squares] == [1] + [8] * 6
    assert {size for batch in squares[1:] for size in batch} == {(640, 640)}


def test_box_that_ends_at_the_border_is_drawn_without_a_warning(predictor, squares, tmp_path):
    image = draw(tmp_path / 'a.png', (64, 48), (5, 7))
    (result,) = predictor.predict(read_frames(find_sources([image])), 0.0)
    result.pred_instances.bboxes[:] = torch.tensor([20.0, 10.0, 64.0, 48.0])
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        assert result.draw().shape == (48, 64, 3)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ({'batch': 0}, 'batch must be at least 1'),
        ({'every': 0}, 'every must be at least 1'),
        ({'score_thr': 30.0}, 'score_thr must be from 0 to 1, got 30'),
    ],
)
def test_wrong_option_is_refused_before_anything_is_written(
    option, message, predictor, photos, tmp_path
):
    with pytest.raises(ValueError, match=message):
        write_predictions(predictor, [photos], tmp_path / 'out', **option)
    assert not files(tmp_path / 'out')


def test_masks_are_not_merged(predictor, photos, monkeypatch):
    monkeypatch.setattr(type(predictor.inferencer.model), 'with_mask', True)
    with pytest.raises(ValueError, match='masks of tiles are not merged'):
        predictor.predict([], tiles=Tiles(640))


def test_source_images_are_never_replaced(predictor, squares, photos, tmp_path):
    before = {name: (photos / name).read_bytes() for name in ('a.png', 'b.png')}
    shutil.copytree(photos, tmp_path / 'my/vis')
    with pytest.raises(FileExistsError, match=r'vis/a\.png'):
        write_predictions(predictor, [tmp_path / 'my/vis'], tmp_path / 'my')
    assert files(tmp_path / 'my') == {'vis/a.png', 'vis/b.png'}
    for name, content in before.items():
        assert (tmp_path / 'my/vis' / name).read_bytes() == content
    # Nor are pictures of an earlier run, when they are the images.
    write_predictions(predictor, [photos], tmp_path / 'out')
    with pytest.raises(FileExistsError, match=r'vis/a\.png is an image to detect in'):
        write_predictions(predictor, [tmp_path / 'out/vis'], tmp_path / 'out')
    # Nor is a text of the name of ours.
    (tmp_path / 'predictions.jsonl').write_text('words')
    with pytest.raises(FileExistsError, match=r'predictions\.jsonl is in the way'):
        write_predictions(predictor, [photos], tmp_path)
    assert (tmp_path / 'predictions.jsonl').read_text() == 'words'


def test_nothing_is_written_outside_the_folder_of_results(
    predictor, squares, photos, tmp_path, monkeypatch
):
    work = tmp_path / 'deep/work'
    work.mkdir(parents=True)
    shutil.copy(photos / 'a.png', work / 'a.png')
    odd = ('odd.jp2', 'gray.pgm')
    for name in odd:
        shutil.copy(photos / 'a.png', photos / name)
    monkeypatch.chdir(work)
    inputs = ['a.png', '../../photos/a.png', *(f'../../photos/{name}' for name in odd)]
    assert write_predictions(predictor, inputs, 'out') == (4, 0)
    results = {'vis/deep/work/a.png', 'vis/photos/a.png', *(f'vis/photos/{n}.png' for n in odd)}
    assert files(work / 'out') - {'.mmdet_detnet'} == {'predictions.jsonl', *results}
    assert files(photos) == {'a.png', 'b.png', *odd}


def test_command_detects_names_and_counts(tiny_detector, photos, tmp_path, capsys):
    arguments = ['--out-dir', tmp_path / 'out', '--score-thr', 0]
    assert predict(tiny_detector, photos, photos / 'absent.png', '0', *arguments) == 1
    output, errors = capsys.readouterr()
    assert f'2 images done, 2 failed: {tmp_path / "out"}' in output
    assert 'loads checkpoint' not in f'{output}{errors}'.lower()
    assert f'{photos / "absent.png"}: no such file' in errors
    assert 'camera 0: cannot be opened as a camera' in errors
    for line in read_lines(tmp_path / 'out')[:2]:
        assert line['detections']
        for detection in line['detections']:
            assert detection['label'] in ('circle', 'square', 'triangle')
            left, top, right, bottom = detection['bbox']
            assert 0 <= left <= right <= 160
            assert 0 <= top <= bottom <= 120


def test_threshold_of_the_checkpoint_is_used_and_said(tiny_detector, photos, tmp_path, capsys):
    config, checkpoint = tiny_detector
    arguments = [photos / 'a.png', '--out-dir', tmp_path / 'out']
    assert predict(tiny_detector, *arguments) == 0
    assert 'score threshold: 0.3 (none was chosen)' in capsys.readouterr().out
    content = torch.load(checkpoint, weights_only=True)
    content['meta']['score_thr'] = {'all': 0.0, 'classes': {}}
    torch.save(content, tmp_path / 'chosen.pth')
    assert predict((config, tmp_path / 'chosen.pth'), *arguments) == 0
    assert 'score threshold: 0 (chosen on validation images)' in capsys.readouterr().out
    assert min(each['score'] for each in read_lines(tmp_path / 'out')[0]['detections']) < 0.3


def test_missing_config_is_named(tiny_detector):
    with pytest.raises(ValueError, match=r'config must be a file, unless .*, got None'):
        Predictor(None, tiny_detector[1])


@pytest.mark.parametrize(('classes', 'status'), [((r'$\frac{$', '$', '猫'), 0), (('circle',), 1)])
def test_names_of_classes_in_a_checkpoint_are_any_text_or_cost_the_image(
    classes, status, tiny_detector, photos, tmp_path, capsys
):
    config, checkpoint = tiny_detector
    content = torch.load(checkpoint, weights_only=True)
    content['meta']['dataset_meta']['classes'] = classes
    torch.save(content, tmp_path / 'other.pth')
    arguments = [photos / 'a.png', '--out-dir', tmp_path / 'out', '--score-thr', 0]
    assert predict((config, tmp_path / 'other.pth'), *arguments) == status
    assert ('cannot be processed (IndexError' in capsys.readouterr().err) == bool(status)


def test_checkpoint_of_another_detector_is_refused(tiny_detector, photos, tmp_path):
    config, checkpoint = tiny_detector
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    key = 'roi_head.bbox_head.fc_cls.bias'
    torch.save({'state_dict': {**state, key: torch.zeros(99)}}, tmp_path / 'other.pth')
    arguments = [photos / 'a.png', '--out-dir', tmp_path / 'out']
    assert predict((config, tmp_path / 'other.pth'), *arguments) == 2
    assert predict((config, tmp_path / 'other.pth'), *arguments, '--allow-mismatch') == 0


def test_result_is_a_table_a_picture_and_what_supervision_takes(
    predictor, squares, photos, tmp_path, monkeypatch
):
    (result,) = predictor.predict(read_frames(find_sources([photos / 'b.png'])))
    assert result.labels == ['square', 'square']
    assert repr(result) == f'<Result of {photos / "b.png"}: 2 square>'
    table = result.to_pandas()
    assert list(table.columns) == ['label', 'score', 'x1', 'y1', 'x2', 'y2']
    assert table.x1.tolist() == [20, 100]
    with monkeypatch.context() as patch, pytest.raises(ImportError, match='pip install pandas'):
        patch.setitem(sys.modules, 'pandas', None)
        result.to_pandas()
    shown = cv2.imdecode(np.frombuffer(result._repr_jpeg_(), np.uint8), cv2.IMREAD_COLOR)
    drawn = result.draw()
    assert np.abs(shown.astype(int) - drawn).mean() < 5  # a JPEG
    result.save(tmp_path / 'drawn.png')
    assert (cv2.imread(str(tmp_path / 'drawn.png')) == drawn).all()
    # As Detections.from_mmdetection of supervision 0.31 reads it.
    instances = result.pred_instances
    for name in ('bboxes', 'scores', 'labels'):
        assert len(instances[name].cpu().numpy()) == 2
    assert 'masks' not in instances
