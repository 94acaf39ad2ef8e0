"""The plan of a study sets the first lines of a template."""

import pytest

from mmdet_detnet.config import load_config
from mmdet_detnet.evaluation.study.template_variables import set_template_variables
from mmdet_detnet.training.checks import find_config_problems

TEMPLATES = [
    'custom/faster-rcnn_detnet59-slim_fpn_custom.py',
    'custom/retinanet-conf_r50-slim_fpn_custom.py',
]


@pytest.fixture(params=TEMPLATES)
def template(request):
    return load_config(request.param)


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
    assert find_config_problems(template) == []


def test_number_of_epochs_reaches_the_schedule():
    config = load_config(TEMPLATES[0])
    assert set_template_variables(config, {'max_epochs': 7}) == ['max_epochs']
    assert config.train_cfg.max_epochs == config.param_scheduler[1].T_max == 7


@pytest.mark.parametrize(
    ('variable', 'value', 'words'),
    [
        ('data_root', 3, 'data_root must be a folder, got 3.'),
        ('data_root', '', "data_root must be a folder, got ''."),
        ('class_names', [1, 2], r'class_names must be a list of names, got \[1, 2\]'),
        ('class_names', 5, 'class_names must be a list of names, got 5'),
        ('max_epochs', 0, 'max_epochs must be an integer of at least 1, got 0'),
        ('max_epochs', 'many', 'max_epochs must be an integer of at least 1'),
    ],
)
def test_wrong_first_line_is_refused(variable, value, words):
    with pytest.raises(ValueError, match=words):
        set_template_variables(load_config(TEMPLATES[0]), {variable: value})
