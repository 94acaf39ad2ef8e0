"""ONNX files in place of an MMDetection detector, and their metadata."""

import json

import cv2
import numpy as np
import onnx
import pytest
import torch
from exportable_detectors import BEST_SCORE_THR, CLASSES, detect, make_config, make_images

from mmdet_detnet.cli import main
from mmdet_detnet.deployment import OnnxDetector
from mmdet_detnet.deployment.onnx_detector import OnnxInferencer
from mmdet_detnet.deployment.onnx_metadata import KEY
from mmdet_detnet.evaluation.predict import Predictor
from mmdet_detnet.evaluation.prediction_folder import write_predictions
from mmdet_detnet.evaluation.tiles import Tiles

pytestmark = pytest.mark.xdist_group('onnx')


@pytest.fixture
def image(tmp_path):
    """An image of other size than the config's, in a file."""
    pixels = make_images(1, 48, 100)[0].permute(1, 2, 0).numpy()
    cv2.imwrite(str(tmp_path / 'image.png'), pixels[..., ::-1])
    return tmp_path / 'image.png'


@pytest.fixture
def config(tmp_path):
    """Config file of the two-stage detector."""
    make_config('Double-Head-Ext').dump(tmp_path / 'config.py')
    return tmp_path / 'config.py'


def predict(out_dir, *arguments):
    arguments = ['predict', *arguments, '--out-dir', out_dir, '--score-thr', 0.2]
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads((out_dir / 'predictions.jsonl').read_text())['detections']


def test_command_with_the_file_alone(two_stage, image, config, tmp_path):
    detector, exported = two_stage
    alone = predict(tmp_path / 'alone', exported.file, image)
    with_config = predict(tmp_path / 'config', config, image, '--checkpoint', exported.file)
    assert alone == with_config
    assert cv2.imread(str(tmp_path / 'alone/vis/image.png')).shape == (48, 100, 3)
    # The config scales to 160 x 96, which keeps the ratio at 160 x 77.
    scaled = cv2.resize(cv2.imread(str(image)), (160, 77))
    images = np.ascontiguousarray(scaled[..., ::-1].transpose(2, 0, 1)[None])
    (theirs,) = detect(detector, torch.from_numpy(images))
    expected = [
        [CLASSES[label], score, [x1 / 1.6, y1 / (77 / 48), x2 / 1.6, y2 / (77 / 48)]]
        for label, score, (x1, y1, x2, y2) in zip(
            theirs.labels.tolist(), theirs.scores.tolist(), theirs.bboxes.tolist(), strict=True
        )
        if score > 0.2
    ]
    assert len(alone) == len(expected) > 0
    for found, (label, score, box) in zip(alone, expected, strict=True):
        assert found['label'] == label
        assert found['score'] == pytest.approx(score, abs=1e-4)
        assert found['bbox'] == pytest.approx(box, abs=1e-3)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'test_dataloader.dataset.metainfo.classes': ('cat',)}, r"classes .* and \['cat'\]"),
        ({'model.test_cfg.rcnn.max_per_img': 7}, 'max_per_img 30 and 7'),
        ({'model.data_preprocessor.bgr_to_rgb': False}, 'to_rgb True and False'),
    ],
)
def test_config_of_another_detector_is_refused(two_stage, changes, words, tmp_path):
    cfg = make_config('Double-Head-Ext')
    cfg.merge_from_dict(changes)
    cfg.dump(tmp_path / 'other.py')
    with pytest.raises(ValueError, match=rf'is of another detector than .*{words}'):
        OnnxInferencer(two_stage[1].file, tmp_path / 'other.py')
    assert OnnxInferencer(two_stage[1].file, tmp_path / 'other.py', allow_mismatch=True)


def test_video_and_large_image_with_the_file_alone(two_stage, tmp_path):
    pixels = make_images(1, 96, 160)[0].permute(1, 2, 0).numpy()
    cv2.imwrite(str(tmp_path / 'large.png'), np.tile(pixels, (3, 3, 1)))
    writer = cv2.VideoWriter(
        str(tmp_path / 'movie.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10, (160, 96)
    )
    for _ in range(3):
        writer.write(pixels)
    writer.release()
    inputs = [tmp_path / 'large.png', tmp_path / 'movie.mp4']
    predictor = Predictor(None, two_stage[1].file)
    assert predictor.is_chosen and predictor.score_thr == BEST_SCORE_THR['all']
    numbers = write_predictions(predictor, inputs, tmp_path / 'out', 0, tiles=Tiles(160))
    assert numbers == (4, 0)
    lines = (tmp_path / 'out/predictions.jsonl').read_text().splitlines()
    assert all(json.loads(line)['detections'] for line in lines)
    assert (tmp_path / 'out/vis/movie.mp4').is_file()


DESCRIPTION = dict(
    config='hostile',
    classes=['circle'],
    takes_pixels=True,
    image_scale=[64, 64],
    keep_ratio=False,
    to_rgb=True,
    mean=None,
    std=None,
    score_thr=0.1,
    max_per_img=2,
)
OUTPUTS = dict(
    boxes=np.ones((1, 2, 4), np.float32),
    scores=np.ones((1, 2), np.float32),
    labels=np.zeros((1, 2), np.int64),
    num_detections=np.ones(1, np.int64),
)


IMAGES = onnx.helper.make_tensor_value_info('images', onnx.TensorProto.UINT8, [1, 3, 64, 64])


def save_graph(path, nodes, inputs, outputs, description=None, weights=()):
    """Write an ONNX file, which says of itself what it likes."""
    graph = onnx.helper.make_graph(nodes, 'graph', inputs, outputs, initializer=weights)
    opset = onnx.helper.make_opsetid('', 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    if description is not None:
        onnx.helper.set_model_props(model, {KEY: description})
    path.write_bytes(model.SerializeToString())
    return path


def write_hostile(path, description, outputs=OUTPUTS):
    """Write a file that gives the same for any image."""
    nodes = [
        onnx.helper.make_node('Constant', [], [name], value=onnx.numpy_helper.from_array(array))
        for name, array in outputs.items()
    ]
    made = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in outputs.items()
    ]
    return save_graph(path, nodes, [IMAGES], made, description)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'config': None}, 'config must be a string, got None'),
        ({'classes': []}, r'classes must be a list of names, got \[\]'),
        ({'takes_pixels': 'no'}, 'takes_pixels must be true or false'),
        ({'image_scale': [10**6, 10**6]}, 'image_scale must be two integers from 1 to 16384'),
        ({'keep_ratio': 1}, 'keep_ratio must be true or false'),
        ({'mean': [float('nan')] * 3}, 'mean must be null, or a number per channel'),
        ({'std': [0, 1, 1]}, 'std must be null, or a number other than 0'),
        ({'score_thr': 10**400}, 'score_thr must be a number'),
        ({'max_per_img': 10**9}, 'max_per_img must be an integer from 1 to 16384'),
        ({'best_score_thr': {'all': 2, 'classes': {}}}, 'best_score_thr must be null, or '),
        ({'best_score_thr': {'all': 0.5, 'classes': [0.5]}}, 'best_score_thr must be null, or '),
    ],
)
def test_description_of_somebody_else_is_checked(changes, words, tmp_path):
    file = write_hostile(tmp_path / 'hostile.onnx', json.dumps({**DESCRIPTION, **changes}))
    with pytest.raises(ValueError, match=rf'hostile\.onnx must describe its detector.*{words}'):
        OnnxDetector(file)


WITHOUT_MEAN = {key: value for key, value in DESCRIPTION.items() if key != 'mean'}


@pytest.mark.parametrize(
    'text', [None, '', 'null', '[' * 100_000, '{"config": "a"}', json.dumps(WITHOUT_MEAN)]
)
def test_file_without_a_description_is_refused(text, tmp_path):
    file = write_hostile(tmp_path / 'hostile.onnx', text)
    with pytest.raises(ValueError, match=r'hostile\.onnx must describe its detector'):
        OnnxDetector(file)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'labels': np.full((1, 2), 1)}, 'labels other than those of 1 classes'),
        ({'labels': np.zeros((1, 2), np.float32)}, 'labels other than'),
        ({'num_detections': np.array([3])}, 'numbers of detections other than 0 to 2'),
        ({'scores': np.ones((1, 3), np.float32)}, 'outputs of the shapes'),
        ({'boxes': np.ones(4, np.float32)}, 'outputs of the shapes'),
        ({'more': np.ones(1)}, 'outputs of the shapes'),
    ],
)
def test_detections_of_somebody_else_are_checked(changes, words, tmp_path):
    images = np.zeros((1, 3, 64, 64), np.uint8)
    valid = write_hostile(tmp_path / 'valid.onnx', json.dumps(DESCRIPTION))
    assert len(OnnxDetector(valid).detect(images)[0]['scores']) == 1
    outputs = {**OUTPUTS, **changes}
    file = write_hostile(tmp_path / 'hostile.onnx', json.dumps(DESCRIPTION), outputs)
    with pytest.raises(ValueError, match=rf'hostile\.onnx gives {words}'):
        OnnxDetector(file).detect(images)


def test_graph_that_cannot_run_costs_each_image(image, tmp_path):
    (tmp_path / 'wide.png').write_bytes(image.read_bytes())
    description = json.dumps({**DESCRIPTION, 'image_scale': [32, 32]})
    file = write_hostile(tmp_path / 'hostile.onnx', description)
    images = [image, tmp_path / 'wide.png']
    assert write_predictions(Predictor(None, file), images, tmp_path / 'out') == (0, 2)


def write_with_weights_elsewhere(path, location):
    """Write a file whose weights lie in another one."""
    weights = onnx.TensorProto(name='w', data_type=onnx.TensorProto.FLOAT, dims=[4])
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {'location': str(location), 'offset': '0', 'length': '16'}.items():
        weights.external_data.add(key=key, value=value)
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [4]) for name in 'xy')
    node = onnx.helper.make_node('Add', ['x', 'w'], ['y'])
    save_graph(path, [node], [x], [y], weights=[weights])


@pytest.mark.parametrize('location', ['../secret', 'secret', '/dev/zero'])
def test_weights_in_another_file_are_not_read(location, tmp_path):
    (tmp_path / 'folder').mkdir()
    for folder in (tmp_path, tmp_path / 'folder'):
        (folder / 'secret').write_bytes(bytes(16))
    file = tmp_path / 'folder' / 'detector.onnx'
    write_with_weights_elsewhere(file, location)
    with pytest.raises(ValueError, match=r'detector\.onnx cannot be read.*xternal data'):
        OnnxDetector(file)


def test_more_memory_than_there_is_costs_one_sentence(tmp_path):
    shape = onnx.numpy_helper.from_array(np.array([2**50]), 'shape')
    one = onnx.numpy_helper.from_array(np.ones(1, np.float32))
    node = onnx.helper.make_node('ConstantOfShape', ['shape'], ['boxes'], value=one)
    boxes = onnx.helper.make_tensor_value_info('boxes', 1, [None])
    file = tmp_path / 'huge.onnx'
    save_graph(file, [node], [IMAGES], [boxes], json.dumps(DESCRIPTION), [shape])
    with pytest.raises(ValueError, match=r'huge\.onnx cannot be run \([^\n]*\)\.$'):
        OnnxDetector(file).detect(np.zeros((1, 3, 64, 64), np.uint8))
