"""Reading a config: its bases, its options, its problems."""

import re

import pytest
from mmengine.config import Config
from mmengine.config import utils as slow_lookup
from quick_configs import look_up

from mmdet_detnet.config import ConfigProblem, load_config, set_options

DEMO = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'


@pytest.fixture
def template():
    config = load_config('custom/faster-rcnn_detnet59-slim_fpn_custom.py')
    config.model.backbone.init_cfg = None
    config.optim_wrapper.paramwise_cfg = dict(custom_keys=dict(backbone=dict(lr_mult=0.1)))
    config.val_cfg = dict()
    return config


def test_bases_of_packages_are_found_without_reading_all_metafiles(monkeypatch, tmp_path):
    def refuse(*args):
        raise AssertionError('reads 102 files')

    monkeypatch.setattr(Config, '_get_cfg_path', staticmethod(look_up))
    expected = Config.fromfile(load_config(DEMO).filename)
    monkeypatch.setattr(slow_lookup, '_get_cfg_metainfo', refuse)
    before = Config._get_cfg_path
    assert load_config(DEMO).to_dict() == expected.to_dict()
    assert Config._get_cfg_path is before
    (tmp_path / 'mine.py').write_text(f"_base_ = 'mmdet_detnet::{DEMO}'\nwork_dir = 'here'\n")
    config = load_config(tmp_path / 'mine.py')
    assert config.work_dir == 'here'
    assert config.model.backbone == expected.model.backbone


@pytest.mark.parametrize('name', ['nothing.py', 'mmdet::nothing/at_all.py', 'no_package::a/b.py'])
def test_missing_config_is_named(name):
    with pytest.raises(FileNotFoundError, match=f'No such file: {name}'):
        load_config(name)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('model = dict(', r'SyntaxError'),
        ('a = 1 / 0', r'ZeroDivisionError: division by zero'),
        ("_base_ = 'mmdet::nothing/at_all.py'", r'FileNotFoundError: .*nothing/at_all\.py'),
        ("_base_ = './nothing.py'", r'FileNotFoundError: .*nothing\.py'),
    ],
)
def test_config_that_cannot_be_read_is_one_sentence(tmp_path, text, words):
    file = tmp_path / "it's.py"
    file.write_text(text + '\n')
    with pytest.raises(ConfigProblem, match=f"it's.py cannot be read: {words}"):
        load_config(file)


def test_list_becomes_a_tuple_where_the_config_has_one(template):
    scale, channels = 'train_dataloader.dataset.pipeline.2.scale', 'model.neck.in_channels'
    assert isinstance(template.train_dataloader.dataset.pipeline[2].scale, tuple)
    set_options(template, {scale: [64, 64], f'{scale}.1': 96, channels: [1, 2, 3, 4]})
    set_options(template, {f'{channels}.0': 7, f'{channels}.3': 9})
    assert template.train_dataloader.dataset.pipeline[2].scale == (64, 96)
    assert template.model.neck.in_channels == [7, 2, 3, 9]


def test_items_of_a_list_in_a_list_are_replaced(template):
    ratios = 'model.rpn_head.anchor_generator.ratios'
    set_options(template, {ratios: [[1, 2], [3, 4]]})
    set_options(template, {f'{ratios}.0.1': 5, f'{ratios}.0.0': 6})
    assert template.model.rpn_head.anchor_generator.ratios == [[6, 5], [3, 4]]


def test_dictionary_in_a_tuple_is_changed(template):
    template.param_scheduler = (dict(type='LinearLR', end=5), dict(type='MultiStepLR', end=7))
    set_options(template, {'param_scheduler.1.end': 9, 'param_scheduler': {'0': {'begin': 1}}})
    assert template.param_scheduler == (
        dict(type='LinearLR', end=5, begin=1),
        dict(type='MultiStepLR', end=9),
    )


def test_option_may_follow_from_the_one_before(template):
    assert template.model.backbone.get('dcn') is None
    dcn = {'type': 'DCN', '_delete_': True}
    options = {'model.backbone.dcn': dcn, 'model.backbone.dcn.deform_groups': 2}
    set_options(template, options)
    assert template.model.backbone.dcn == dict(type='DCN', deform_groups=2)
    assert len(template.param_scheduler) == 2
    with pytest.raises(ConfigProblem, match='the config has no param_scheduler.1; '):
        set_options(template, {'param_scheduler': [{'type': 'StepLR'}], 'param_scheduler.1.end': 3})


@pytest.mark.parametrize('value', [{'type': 'StepLR'}, {'9': {'end': 1}}])
def test_dictionary_that_does_not_fit_a_list_is_refused(template, value):
    with pytest.raises(ConfigProblem, match='^--cfg-options param_scheduler: .* cannot be merged'):
        set_options(template, {'param_scheduler': value})


@pytest.mark.parametrize('is_first', [True, False])
def test_part_is_emptied_first(template, is_first):
    new = {'train_cfg.type': 'IterBasedTrainLoop', 'train_cfg.max_iters': 3}
    delete = {'train_cfg._delete_': True}
    set_options(template, delete | new if is_first else new | delete)
    assert template.train_cfg == dict(type='IterBasedTrainLoop', max_iters=3)
    set_options(template, {'train_cfg._delete_': False})
    assert len(template.train_cfg) == 2
    head = 'model.roi_head.bbox_head'
    set_options(template, {f'{head}._delete_': True, f'{head}.loss.type': 'X'})
    assert template.model.roi_head.bbox_head == dict(loss=dict(type='X'))


@pytest.mark.parametrize(
    ('key', 'words'),
    [
        ('mdoel.x', 'the config has no mdoel; did you mean model?'),
        ('lr', 'the config has no lr; nothing would read it.'),
        ('optimizer.lr', 'the config has no optimizer; '),
        ('model.test_cfg.rcnn.score_th', 'did you mean model.test_cfg.rcnn.score_thr?'),
        ('model.train_cfg.rccn.pos_weight', 'did you mean model.train_cfg.rcnn?'),
        ('train_dataloader.batchsize', 'did you mean train_dataloader.batch_size?'),
        ('param_scheduler.2.T_max', 'the config has no param_scheduler.2; '),
        ('model.backbone.depth.x', 'the config has no model.backbone.depth.x; '),
        ('image_scale', 'image_scale is a variable of the config file'),
    ],
)
def test_key_without_effect_is_refused(template, key, words):
    with pytest.raises(ConfigProblem, match=f'^--cfg-options {key}: .*{re.escape(words)}'):
        set_options(template, {key: 1})


@pytest.mark.parametrize(
    'key',
    [
        'model.backbone.depth',
        'model.roi_head.bbox_head.reg_class_agnostic',
        'model.backbone.dcn.type',
        'model.backbone.init_cfg.checkpoint',
        'train_dataloader.dataset.filter_cfg.min_size',
        'optim_wrapper.accumulative_counts',
        'optim_wrapper.clip_grad.norm_type',
        'optim_wrapper.paramwise_cfg.bias_lr_mult',
        'optim_wrapper.paramwise_cfg.custom_keys.backbone.decay_mult',
        'val_cfg.fp16',
        'train_dataloader.prefetch_factor',
        'train_dataloader.dataset.metainfo.palette',
        'default_hooks.checkpoint.save_best',
        'custom_hooks.0.interval',
        'env_cfg.mp_cfg.mp_start_method',
        'load_from',
        'compile',
    ],
)
def test_key_with_effect_is_set(template, key):
    set_options(template, {key: 1})
    node = template
    for name in key.split('.'):
        node = node[int(name)] if isinstance(node, list) else node[name]
    assert node == 1
