"""Keys of --cfg-options: those without effect are refused, the template's first lines work."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
from mmengine.config import Config

from mmdet_detnet import config_path
from mmdet_detnet.training.checks import find_config_faults
from mmdet_detnet.training.checks.overrides import find_override_faults
from mmdet_detnet.training.preflight import prepare_arguments
from mmdet_detnet.training.template_variables import parse_names, set_template_variables

TEMPLATES = [
    'custom/faster-rcnn_detnet59-slim_fpn_custom.py',
    'custom/retinanet-conf_r50-slim_fpn_custom.py',
    'custom/double-head-ext_r50-slim_fpn_custom.py',
    'ipgnet/faster-rcnn_ipgnet50-small-objects_fpn_1x_custom.py',
]


@pytest.mark.parametrize(
    ('key', 'words'),
    [
        ('mdoel.x', 'the config has no mdoel; did you mean model?'),
        ('modle.backbone.depth', 'the config has no modle; did you mean model?'),
        ('lr', 'the config has no lr; nothing would read it.'),
        ('batch_size', 'the config has no batch_size; '),
        ('optimizer.lr', 'the config has no optimizer; '),
        ('model.test_cfg.rcnn.score_th', 'did you mean model.test_cfg.rcnn.score_thr?'),
        ('model.test_cfg.rpn.nms_per', 'did you mean model.test_cfg.rpn.nms_pre?'),
        ('model.train_cfg.rccn.pos_weight', 'did you mean model.train_cfg.rcnn?'),
        ('train_dataloader.batchsize', 'did you mean train_dataloader.batch_size?'),
        ('train_dataloader.num_worker', 'did you mean train_dataloader.num_workers?'),
        ('param_scheduler.2.T_max', 'the config has no param_scheduler.2; '),
        ('model.backbone.depth.x', 'the config has no model.backbone.depth.x; '),
        ('image_scale', 'image_scale is a variable of the config file'),
        ('test_pipeline', 'test_pipeline is a variable of the config file'),
    ],
)
def test_key_without_effect_is_refused(make_config, key, words):
    (fault,) = find_override_faults(make_config('template'), {key: 1})
    assert fault.startswith(f'--cfg-options {key}: ')
    assert words in fault


@pytest.mark.parametrize(
    'key',
    [
        'model.backbone.depth',
        'model.roi_head.bbox_head.reg_class_agnostic',
        'model.backbone.dcn.type',
        'model.test_cfg.rcnn.nms.class_agnostic',
        'optim_wrapper.clip_grad.max_norm',
        'train_dataloader.prefetch_factor',
        'train_dataloader.dataset.indices',
        'train_dataloader.dataset.metainfo.palette',
        'default_hooks.checkpoint.save_best',
        'default_hooks.profiler.type',
        'custom_hooks.0.interval',
        'param_scheduler.1.T_max',
        'env_cfg.mp_cfg.mp_start_method',
        'load_from',
        'randomness.seed',
        'auto_scale_lr.enable',
        'compile',
    ],
)
def test_key_with_effect_is_let_pass(make_config, key):
    assert find_override_faults(make_config('template'), {key: 1}) == []


@pytest.fixture(params=TEMPLATES)
def template(request):
    return Config.fromfile(config_path(request.param))


def test_first_lines_of_a_template_are_set_as_if_they_were_changed_in_the_file(template):
    options = {'data_root': '/my/data', 'class_names': ['cat', 'red panda'], 'load_from': 'a'}
    assert set_template_variables(template, options) == ['data_root', 'class_names']
    assert options == {'load_from': 'a'}
    for loader in (template.train_dataloader, template.val_dataloader, template.test_dataloader):
        assert loader.dataset.data_root == '/my/data/'
        assert loader.dataset.metainfo.classes == ('cat', 'red panda')
    assert template.val_evaluator.ann_file == '/my/data/annotations/val.json'
    assert template.test_evaluator.ann_file == '/my/data/annotations/test.json'
    head = template.model.get('roi_head', template.model).bbox_head
    assert head.num_classes == 2
    assert find_config_faults(template) == []


def test_number_of_epochs_reaches_the_schedule(make_config):
    config = make_config('template')
    assert set_template_variables(config, {'max_epochs': 7}) == ['max_epochs']
    assert config.train_cfg.max_epochs == config.param_scheduler[1].T_max == 7


@pytest.mark.parametrize(
    ('variable', 'value', 'words'),
    [
        ('data_root', 3, 'data_root must be a folder, got 3.'),
        ('data_root', '', "data_root must be a folder, got ''."),
        ('class_names', [1, 2], r'class_names must be names separated by commas, got \[1, 2\]'),
        ('class_names', 5, 'class_names must be names separated by commas, got 5'),
        ('max_epochs', 0, 'max_epochs must be an integer of at least 1, got 0'),
        ('max_epochs', 'many', 'max_epochs must be an integer of at least 1'),
    ],
)
def test_wrong_first_line_is_refused(make_config, variable, value, words):
    with pytest.raises(ValueError, match=words):
        set_template_variables(make_config('template'), {variable: value})


def test_script_gets_a_copy_of_the_config_with_the_first_lines_set(tmp_path, monkeypatch):
    file = config_path(TEMPLATES[0])
    options = ['data_root=/my/data', 'class_names=red panda,cat']
    arguments = ['train.py', file, '--skip-data-check', '--cfg-options', *options]
    monkeypatch.setattr(sys, 'argv', arguments)
    known = dict(option.split('=') for option in options)
    args = Namespace(config=file, cfg_options=known, resume=None)
    _, copy, *others = prepare_arguments(lambda: args, True, str(tmp_path))
    assert (Path(copy).name, others) == (Path(file).name, ['--cfg-options', *options])
    config = Config.fromfile(copy)
    assert config.train_dataloader.dataset.data_root == '/my/data/'
    assert config.train_dataloader.dataset.metainfo.classes == ('red panda', 'cat')


def test_script_gets_the_config_itself_where_nothing_has_to_change(tmp_path, monkeypatch):
    file = config_path(TEMPLATES[0])
    monkeypatch.setattr(sys, 'argv', ['train.py', file, '--amp', '--skip-data-check'])
    args = Namespace(config=file, cfg_options=None, resume=None)
    assert prepare_arguments(lambda: args, True, str(tmp_path)) == ['train.py', file, '--amp']


@pytest.mark.parametrize(
    ('text', 'names'),
    [
        ('cat,dog', ['cat', 'dog']),
        ('cat', ['cat']),
        ('red panda, traffic light', ['red panda', 'traffic light']),
        ("['a','b c']", ['a', 'b c']),
        ('("1", "2",)', ['1', '2']),
    ],
)
def test_names_of_classes_are_read_as_typed(text, names):
    assert parse_names(text) == names
