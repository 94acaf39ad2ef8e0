"""Wrong configs: one sentence with the place, the value and what is allowed."""

import pytest

from mmdet_detnet.training.checks import find_config_problems, find_random_frozen_stages

WRONG_PARTS = [
    ('model.backbone.init_cfg', dict(type='Pretrained'), 'a path or URL of weights'),
    ('model.backbone.init_cfg', dict(type='Pretrained', checkpoint=''), 'a path or'),
    ('model.init_cfg', [dict(type='Pretrained')], 'a path or URL of weights'),
    ('train_dataloader.dataset.metainfo.classes', 'cat', "('name', ...), got 'cat'"),
    ('train_dataloader.dataset.metainfo.classes', ('a', 'a'), 'unique class names'),
    ('train_dataloader.dataset.metainfo.classes', (1, 2), 'must be unique class names'),
    ('val_dataloader.dataset.metainfo.classes', ('WBC', 'RBC'), 'must be those of'),
]


@pytest.mark.parametrize(('key', 'value', 'words'), WRONG_PARTS)
def test_what_does_not_fit_is_named(make_config, key, value, words):
    problems = find_config_problems(make_config('template', key, value))
    assert any(words in problem and problem.startswith(key[:20]) for problem in problems), problems


@pytest.mark.parametrize('base', ['template', 'cascade', 'coco'])
def test_valid_config_has_no_problem(make_config, base):
    assert find_config_problems(make_config(base)) == []


def test_datasets_may_be_missing(make_config):
    config = make_config('template', 'train_dataloader.dataset.metainfo.classes', ('1', '2'))
    config.val_dataloader = config.test_dataloader = None
    assert find_config_problems(config) == []


@pytest.mark.parametrize('key', ['load_from', 'resume', 'model.backbone.init_cfg'])
def test_frozen_stages_need_weights(make_config, key):
    config = make_config('template', 'model.backbone.frozen_stages', 1)
    (problem,) = find_random_frozen_stages(config)
    assert problem.startswith(
        'model.backbone.frozen_stages must be -1 unless init_cfg or load_from'
    )
    weights = dict(type='Pretrained', checkpoint='a.pth')
    config.merge_from_dict({key: weights if 'init' in key else 'a.pth'})
    assert find_random_frozen_stages(config) == []
