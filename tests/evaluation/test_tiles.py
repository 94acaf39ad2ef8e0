"""Tiles cover the image, and an object in several of them is found once."""

import numpy as np
import pytest
from coco_cases import make_truth
from helpers import make_detections as found
from hypothesis import given
from hypothesis import strategies as st

from mmdet_detnet.cli import main
from mmdet_detnet.evaluation import predict
from mmdet_detnet.evaluation.predict import Predictor, evaluate_in_tiles
from mmdet_detnet.evaluation.sources import Frame, Source
from mmdet_detnet.evaluation.tiles import Tiles, merge
from mmdet_detnet.files import read_json

IMAGE, LEFT, RIGHT = (0, 0, 180, 100), (0, 0, 100, 100), (80, 0, 180, 100)


@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.integers(50, 300),
    st.floats(0, 0.9, allow_subnormal=False),
)
def test_small_objects_are_whole_in_a_tile(width, height, size, overlap):
    whole, *windows = Tiles(size, overlap).windows(height, width)
    assert whole == (0, 0, width, height)
    if max(width, height) <= size:
        assert not windows
        return
    for axis, length in enumerate((width, height)):
        spans = sorted({(window[axis], window[axis + 2]) for window in windows})
        assert spans[0][0] == 0 and spans[-1][1] == length
        assert all(end - start == min(size, length) for start, end in spans)
        overlaps = [one[1] - other[0] for one, other in zip(spans, spans[1:], strict=False)]
        assert all(each >= int(size * overlap) for each in overlaps)


def test_windows_by_hand():
    assert Tiles(100, 0.2).windows(100, 180) == [IMAGE, LEFT, RIGHT]


@pytest.mark.parametrize(('size', 'overlap'), [(0, 0.2), (640, 1.0), (640, -0.1)])
def test_wrong_tiles_are_refused(size, overlap):
    with pytest.raises(ValueError, match=r'Tiles: (size|overlap) must be'):
        Tiles(size, overlap)


def merged_boxes(whole, left, right):
    merged = merge([whole, left, right], [IMAGE, LEFT, RIGHT])
    return sorted(merged.bboxes.tolist())


def test_object_in_two_tiles_is_found_once_in_pixels_of_the_image():
    boxes = merged_boxes(found(), found((82, 10, 96, 20, 0.9, 0)), found((2, 10, 16, 20, 0.8, 0)))
    assert boxes == [[82, 10, 96, 20]]


def test_other_class_at_the_same_place_is_kept():
    row = (10, 10, 20, 20)
    assert len(merged_boxes(found(), found((*row, 0.9, 0), (*row, 0.8, 1)), found())) == 2


def test_part_at_the_border_of_a_tile_yields_to_the_whole_object():
    large = (60, 10, 150, 90, 0.7, 0)
    left, right = (60, 10, 100, 90, 0.9, 0), (0, 10, 70, 90, 0.8, 0)
    assert merged_boxes(found(large), found(left), found(right)) == [[60, 10, 150, 90]]
    # Without the whole, or with one of little score, parts are better than nothing.
    parts = [[60, 10, 100, 90], [80, 10, 150, 90]]
    assert merged_boxes(found(), found(left), found(right)) == parts
    doubtful = (20, 10, 170, 90, 0.3, 0)
    boxes = merged_boxes(found(doubtful), found(left), found(right))
    assert boxes == [[20, 10, 170, 90], *parts]


def test_small_object_inside_a_large_one_is_kept():
    large, small = (20, 10, 90, 90, 0.9, 0), (30, 30, 40, 40, 0.8, 0)
    assert len(merged_boxes(found(large), found(small), found())) == 2
    # Also at the border of the image, which cuts nothing.
    large, small = (0, 0, 90, 90, 0.9, 0), (0, 30, 10, 40, 0.8, 0)
    assert len(merged_boxes(found(large), found(small), found())) == 2


def test_evaluation_of_a_detector_that_finds_every_object(
    tiny_detector, shapes_root, tmp_path, monkeypatch, capsys
):
    content = read_json(shapes_root / 'annotations/val.json')
    gts = {image['id']: [] for image in content['images']}
    for each in content['annotations']:
        x, y, width, height = each['bbox']
        row = (x, y, x + width, y + height, 1, each['category_id'] - 1)
        gts[each['image_id']].append(row)
    objects = iter(gts.values())
    monkeypatch.setattr(Predictor, '_detect', lambda self, images: [found(*next(objects))])
    config, checkpoint = map(str, tiny_detector)
    run = [config, '--checkpoint', checkpoint, '--work-dir', str(tmp_path)]
    assert main(['test', *run, '--tiles', '200', '--overlap', '0.3']) == 0
    assert 'coco/bbox_mAP: 1.000\n' in capsys.readouterr().out
    with monkeypatch.context() as patch:
        # An image that needs no tiles has what the detector finds, also boxes that overlap.
        overlapping = found((0, 0, 90, 90, 0.9, 0), (0, 0, 90, 60, 0.8, 0))
        patch.setattr(Predictor, '_detect', lambda self, images: [overlapping])
        image = Frame(Source('a', 'image', 'a'), np.zeros((100, 180, 3), np.uint8))
        (result,) = Predictor(config, checkpoint, 'cpu').predict([image], 0.0, tiles=Tiles(200))
        assert len(result) == 2
    assert main(['test', *run, '--overlap', '0.3']) == 2
    assert '--overlap 0.3 needs --tiles' in capsys.readouterr().err
    assert main(['test', *run, '--tiles', '200', '--tta']) == 2
    assert '--tiles does not go with options of test.py: --tta' in capsys.readouterr().err


def test_at_most_100_detections_of_a_class_count_in_every_figure_as_in_the_report(
    tiny_detector, shapes_root, monkeypatch
):
    corners = [(x, y) for x in range(0, 150, 10) for y in range(0, 110, 10)]
    truth = make_truth(*((1, 1, [x, y, 5, 5]) for x, y in corners), images=1)
    truth.images[0].update(path=str(shapes_root / 'val/000000.png'))
    monkeypatch.setattr(predict, 'read_ground_truth', lambda dataset: truth)
    every_object = found(*((x, y, x + 5, y + 5, 0.9, 0) for x, y in corners))
    monkeypatch.setattr(Predictor, '_detect', lambda self, images: [every_object])
    metrics = evaluate_in_tiles(Predictor(*tiny_detector), Tiles(200))
    # 100 of 165 objects reach 61 of the 101 recalls.
    names = ('', '_50', '_75', '_s')
    assert metrics == {f'coco/bbox_mAP{name}': pytest.approx(61 / 101) for name in names}
