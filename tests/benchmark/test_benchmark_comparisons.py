"""Names on the command line, and the entries that they become."""

import pytest

from mmdet_detnet.benchmark import Entry, Settings
from mmdet_detnet.benchmark.comparisons import (
    COMPARISONS,
    PLAIN,
    Comparison,
    find_comparisons,
    make_entries,
)
from mmdet_detnet.benchmark.timed_networks import load_with_options

SLIM = 'demo/faster-rcnn_detnet59-slim_fpn_shapes.py'
NUMBERS = (50, 100, 200, 1000)
FAST = Settings('bf16', channels_last=True, compile=True)


def test_any_configs_are_a_comparison_and_the_name_is_the_firsts():
    found = find_comparisons(['a/ours.py', 'stock.py'])
    assert found == {'ours': Comparison(('a/ours.py', 'stock.py'))}


def test_reference_of_every_known_comparison_is_mmdets():
    assert all(known.configs[-1].startswith('mmdet::') for known in COMPARISONS.values())


@pytest.mark.parametrize(
    ('accelerate', 'expected'),
    [
        ('all', [('a', FAST), ('b', FAST)]),
        ('ours', [('a', FAST), ('b', PLAIN)]),
        ('added', [('a', FAST), ('a', PLAIN), ('b', FAST), ('b', PLAIN)]),
    ],
)
def test_which_rows_are_accelerated(accelerate, expected):
    entries = make_entries(Comparison(('a', 'b')), FAST, accelerate)
    assert [(entry.config, entry.settings) for entry in entries] == expected


def test_settings_after_the_name_replace_those_of_the_config_and_are_in_the_title():
    entry = Entry(f'{SLIM} model.backbone.frozen_stages=2 model.test_cfg.rcnn.score_thr=0.1')
    model = load_with_options(entry.config).model
    assert (model.backbone.frozen_stages, model.test_cfg.rcnn.score_thr) == (2, 0.1)
    assert entry.title == f'{Entry(SLIM).stem} [frozen_stages=2, score_thr=0.1]'
    assert Entry('mmdet::x/a.py', settings=FAST).title == 'a [bf16_nhwc_compiled]'


@pytest.mark.parametrize(
    ('what', 'names'),
    [
        (['double-head'], {'double-head'}),
        (['ipgnet', 'backbone'], {'ipgnet', 'backbone'}),
        (['double-head-roi', 'ipgnet'], {*(f'double-head-roi-{n}' for n in NUMBERS), 'ipgnet'}),
    ],
)
def test_comparison_is_found_by_its_name_or_several_by_their_start(what, names):
    assert find_comparisons(what).keys() == names


@pytest.mark.parametrize('what', [['detnet', 'ours.py'], ['detnets'], ['ours.py']])
def test_neither_names_nor_configs_are_refused(what):
    with pytest.raises(ValueError, match='expected comparisons among'):
        find_comparisons(what)
