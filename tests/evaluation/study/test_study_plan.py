import pytest

from mmdet_detnet import config_path
from mmdet_detnet.evaluation.study import Run, read_study
from mmdet_detnet.evaluation.study.plan import hash_config
from mmdet_detnet.training.checks import find_config_problems

CONTENT = """
data_sets:
  cells: {data_root: data/cells/, class_names: [red, white]}
seeds: [0, 1]
options: {max_epochs: 3}
detectors:
  plain: {config: CONFIG}
  slow: {config: CONFIG, options: {max_epochs: 5}}
  other: {config: CONFIG, options: {model.backbone.base_channels: 8}}
comparisons:
  - [slow, plain]
  - [other, plain]
"""

OTHER = 'config: CONFIG, options: {model.backbone.base_channels: 8}'


@pytest.fixture
def write(tmp_path):
    """Write the study with a part of its text replaced; the path of the file."""

    def write(old='', new=''):
        assert old in CONTENT
        config = config_path('custom/faster-rcnn_detnet59-slim_fpn_custom.py')
        (tmp_path / 'mine.yml').write_text(CONTENT.replace(old, new).replace('CONFIG', str(config)))
        return tmp_path / 'mine.yml'

    return write


def test_runs_come_in_pairs_seed_after_seed_and_once(write):
    study = read_study(write())
    assert [run.name for run in study.runs] == [
        'cells_plain_seed0',
        'cells_slow_seed0',
        'cells_plain_seed1',
        'cells_slow_seed1',
        'cells_other_seed0',
        'cells_other_seed1',
    ]
    assert study.comparisons == (('slow', 'plain'), ('other', 'plain'))


def test_options_of_study_data_set_and_detector_reach_the_config(write):
    plain, slow, *_, other = (run.load_config() for run in read_study(write()).runs)
    assert plain.train_cfg.max_epochs == plain.param_scheduler[1].T_max == 3
    assert slow.train_cfg.max_epochs == 5  # the detector's option is the last word
    assert plain.test_evaluator.ann_file == 'data/cells/annotations/test.json'
    assert plain.train_dataloader.dataset.metainfo.classes == ('red', 'white')
    assert other.model.backbone.base_channels == 8
    assert hash_config(plain) != hash_config(slow)


def test_weights_are_trained_first_with_the_same_settings(write):
    file = write(OTHER, 'weights: slow, options: {model.test_cfg.rcnn.score_thr: 0.3}')
    file.write_text(file.read_text().replace('  - [slow, plain]\n', ''))
    plain, slow, other, *_ = runs = read_study(file).runs
    assert [run.name for run in runs[:3]] == [
        'cells_plain_seed0',
        'cells_slow_seed0',
        'cells_other_seed0',
    ]
    assert (plain.source, slow.source, other.source) == (None, None, 'cells_slow_seed0')
    assert other.config == slow.config
    assert other.options == slow.options | {'model.test_cfg.rcnn.score_thr': 0.3}


def test_lists_become_tuples_where_the_config_has_one(write):
    scale = 'train_dataloader.dataset.pipeline.2.scale: [160, 120]'
    channels = 'model.neck.in_channels: [8, 16, 32, 32, 32]'
    new = 'model.backbone.new.part: [3]'
    cfg = (
        read_study(write('max_epochs: 3', ', '.join([scale, channels, new]))).runs[0].load_config()
    )
    assert cfg.train_dataloader.dataset.pipeline[2].scale == (160, 120)
    assert cfg.model.neck.in_channels == [8, 16, 32, 32, 32]
    assert cfg.model.backbone.new.part == [3]


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('seeds: [0, 1]', 'seed: 0', 'must have the keys comparisons, data_sets, detectors, seeds'),
        ('seeds: [0, 1]', 'seeds: [-1]', 'seeds must be numbers from 0 on'),
        ('[slow, plain]', '[fast, plain]', 'comparisons must be pairs of plain, slow, other'),
        ('  - [other, plain]\n', '', 'no comparison has other'),
        ('options: {max_epochs: 5}', 'option: 1', 'detectors.slow must have config or weights'),
        (OTHER, 'weights: other', "other.weights must be one of plain, slow, got 'other'"),
        ('seeds: [0, 1]', 'seeds: [0, 1', 'not valid YAML'),
        ('seeds: [0, 1]', 'seeds: 3', 'seeds must be a list, got 3'),
        ('{max_epochs: 3}', '[max_epochs]', 'options must be a mapping'),
        ('{max_epochs: 5}', '', 'detectors.slow.options must be a mapping, got None'),
        ('[slow, plain]', '[[slow], plain]', 'a name in comparisons.0 must be text, got .*slow'),
        ('  other: {', '  59: {', 'a name in detectors must be text, got 59'),
    ],
)
def test_mistakes_in_the_file_are_named(write, old, new, message):
    with pytest.raises(ValueError, match=message):
        read_study(write(old, new))


def test_option_that_would_change_nothing_is_refused(write):
    run = read_study(write('max_epochs: 3', 'mdoel.x: 1')).runs[0]
    with pytest.raises(ValueError, match='mdoel'):
        run.load_config()


def test_hash_leaves_out_variables_that_no_training_reads(write):
    config = read_study(write()).runs[0].load_config()
    expected = hash_config(config)
    config.name_in_a_base = 1
    assert hash_config(config) == expected
    config.train_dataloader.batch_size += 1
    assert hash_config(config) != expected


@pytest.mark.parametrize('template', ['faster-rcnn_detnet59', 'retinanet-conf_r50'])
def test_first_lines_of_a_template_are_set_as_if_they_were_changed_in_the_file(template):
    name = f'custom/{template}-slim_fpn_custom.py'
    options = {'data_root': '/my/data', 'class_names': ['cat', 'red panda'], 'load_from': 'a'}
    config = Run('any', 'any', 0, name, options).load_config()
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.data_root == '/my/data/'
        assert loader.dataset.metainfo.classes == ('cat', 'red panda')
    assert config.val_evaluator.ann_file == '/my/data/annotations/val.json'
    assert config.test_evaluator.ann_file == '/my/data/annotations/test.json'
    head = config.model.get('roi_head', config.model).bbox_head
    assert head.num_classes == 2
    assert config.load_from == 'a'
    assert find_config_problems(config) == []


@pytest.mark.parametrize(
    ('variable', 'value', 'words'),
    [
        ('data_root', '', "data_root must be a folder, got ''."),
        ('class_names', [1, 2], r'class_names must be a list of names, got \[1, 2\]'),
        ('class_names', 5, 'class_names must be a list of names, got 5'),
        ('max_epochs', -1, 'max_epochs must be an integer of at least 1, got -1'),
        ('max_epochs', 'many', 'max_epochs must be an integer of at least 1'),
    ],
)
def test_wrong_first_line_is_refused(write, variable, value, words):
    run = read_study(write()).runs[0]
    run.options[variable] = value
    with pytest.raises(ValueError, match=words):
        run.load_config()
