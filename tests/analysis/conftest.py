"""A drawn data set and an untrained detector for it, shared by the tests of the tools."""

import pytest
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from run_demo import write_config

from mmdet_detnet.analysis.dataset.shapes import generate_shapes


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory):
    """Two training and two validation images."""
    return generate_shapes(tmp_path_factory.mktemp('data') / 'shapes', num_train=2, num_val=2)


@pytest.fixture(scope='session')
def tiny_detector(tmp_path_factory, shapes_root):
    """Config file and checkpoint of the demo's detector at a quarter of its width, untrained."""
    folder = tmp_path_factory.mktemp('detector')
    write_config(folder / 'new' / 'config.py', shapes_root)
    cfg = Config.fromfile(folder / 'new' / 'config.py')
    cfg.model.backbone.base_channels = 4
    cfg.model.neck.in_channels = [16, 32, 64, 64, 64]
    cfg.dump(folder / 'config.py')
    model = MODELS.build(cfg.model)
    model.init_weights()
    metainfo = DATASETS.build(cfg.val_dataloader.dataset).metainfo
    save_checkpoint(
        {'state_dict': model.state_dict(), 'meta': {'dataset_meta': metainfo}},
        str(folder / 'detector.pth'),
    )
    return folder / 'config.py', folder / 'detector.pth'
