"""Loading a detector with all of its weights, and the objects of its dataset as in COCO."""

import json

import pytest
import torch
from coco_cases import BOX
from mmdet.datasets import CocoDataset, VOCDataset
from mmengine.runner import Runner

from mmdet_detnet.evaluation.loading import load_detector, read_ground_truth, run_detector
from mmdet_detnet.evaluation.predict import Predictor

MISSING = 'roi_head.bbox_head.fc_cls.bias'


def test_checkpoint_of_another_detector_is_refused(tiny_detector, tmp_path):
    config, checkpoint = tiny_detector
    content = torch.load(checkpoint, weights_only=True)
    del content['state_dict'][MISSING]
    torch.save(content, tmp_path / 'other.pth')
    files = config, tmp_path / 'other.pth'
    with pytest.raises(ValueError, match=rf'other\.pth lacks weights of the config: {MISSING}'):
        load_detector(*files, device='cpu')
    load_detector(*files, device='cpu', allow_mismatch=True)


@pytest.mark.parametrize(
    ('config', 'checkpoint'),
    [('absent', 0), (0, 'absent'), ('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', 'absent')],
)
@pytest.mark.parametrize('load', [load_detector, Predictor])
def test_missing_file_is_named(load, config, checkpoint, tiny_detector):
    with pytest.raises(FileNotFoundError, match=r'No such file: absent\.'):
        load(config or tiny_detector[0], checkpoint or tiny_detector[1])


def test_options_override_the_config_and_one_without_effect_is_refused(tiny_detector):
    options = {'model.test_cfg.rcnn.max_per_img': 3}
    detector = load_detector(*tiny_detector, cfg_options=options, device='cpu')
    assert detector.roi_head.test_cfg.max_per_img == 3
    with pytest.raises(ValueError, match='mdoel'):
        load_detector(*tiny_detector, cfg_options={'mdoel.x': 1})


@pytest.mark.parametrize('num_workers', [0, 1])
def test_missing_image_is_named_in_one_line(num_workers, tiny_detector, tmp_path):
    options = {
        'test_dataloader.dataset.data_prefix.img': str(tmp_path),
        'test_dataloader.num_workers': num_workers,
    }
    detector = load_detector(*tiny_detector, cfg_options=options, device='cpu')
    loader = Runner.build_dataloader(detector.cfg.test_dataloader)
    with pytest.raises(FileNotFoundError, match=r'^.*No such file or directory: .*000000\.png.$'):
        list(run_detector(detector, loader))


def make_dataset(folder, annotations, classes=('cat', 'dog'), **options):
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=200, height=200) for i in (5, 6)],
        categories=[dict(id=3, name='dog'), dict(id=8, name='cat'), dict(id=9, name='cow')],
        annotations=[dict(image_id=5, bbox=BOX, area=1600, **each) for each in annotations],
    )
    (folder / 'truth.json').write_text(json.dumps(content))
    return CocoDataset(
        ann_file=str(folder / 'truth.json'),
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=[],
        **options,
    )


def test_ground_truth_has_the_classes_of_the_labels_and_ids_from_1(tmp_path):
    annotations = [
        dict(id=0, category_id=8, iscrowd=0),
        dict(id=1, category_id=9, iscrowd=0),  # of a class that the detector does not have
        dict(id=2, category_id=3, iscrowd=1),
    ]
    dataset = make_dataset(tmp_path, annotations)
    truth = read_ground_truth(dataset)
    # mmdet's labels follow the file: label 0 is the dog, whatever the config says.
    assert list(truth.classes.items()) == [(3, 'dog'), (8, 'cat')]
    assert dataset.get_data_info(0)['instances'][0]['bbox_label'] == 1
    found = [(each['id'], each['category_id'], each['iscrowd']) for each in truth.annotations]
    assert found == [(1, 8, 0), (2, 3, 1)]
    assert [(each['id'], each['path']) for each in truth.images] == [
        (5, 'images/5.jpg'),
        (6, 'images/6.jpg'),
    ]


def test_only_the_images_of_the_dataset_count(tmp_path):
    dataset = make_dataset(tmp_path, [dict(id=1, category_id=8, iscrowd=0)], indices=[1])
    truth = read_ground_truth(dataset)
    assert ([each['id'] for each in truth.images], truth.annotations) == ([6], [])


def test_class_that_the_file_lacks_is_named(tmp_path):
    dataset = make_dataset(tmp_path, [], classes=('cat', 'yak'))
    with pytest.raises(ValueError, match=r"truth\.json has no categories \['yak'\]"):
        read_ground_truth(dataset)


def test_other_datasets_are_refused():
    with pytest.raises(ValueError, match='must be a CocoDataset, got VOCDataset'):
        read_ground_truth(VOCDataset(ann_file='x', lazy_init=True))
