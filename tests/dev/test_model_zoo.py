from pathlib import Path

import pytest
import yaml
from model_zoo import BEGIN, END, insert_table, make_table, read_metafiles

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def write_metafile(tmp_path):
    """Write a metafile of one model, whose fields a test adds to."""

    def write(**fields):
        model = {'Name': 'a', 'In Collection': 'A', 'Config': 'configs/a/a.py', **fields}
        collections = [{'Name': 'A', 'README': 'configs/a/README.md'}]
        metafile = {'Collections': collections, 'Models': [model]}
        (tmp_path / 'a.yml').write_text(yaml.safe_dump(metafile, sort_keys=False))
        (tmp_path / 'model-index.yml').write_text(yaml.safe_dump({'Import': ['a.yml']}))
        return tmp_path

    return write


def cells_of(table, name):
    (line,) = [line for line in table.splitlines() if f'`{name}`' in line]
    headings, cells = (row[2:-2].split(' | ') for row in (table.splitlines()[0], line))
    return dict(zip(headings, cells, strict=True))


def test_page_has_the_table_of_the_metafiles():
    page = (ROOT / 'docs/model_zoo.md').read_text()
    assert insert_table(page, make_table()) == page, 'run `make zoo`'


def test_every_model_has_a_row():
    names = [model['Name'] for metafile in read_metafiles(ROOT) for model in metafile['Models']]
    table = make_table()
    assert len(names) > 40
    assert all(cells_of(table, name)['method'] for name in names)


def test_rows_with_results_come_first():
    rows = make_table().splitlines()[2:]
    have_results = [' AP ' in row for row in rows]
    assert have_results == sorted(have_results, reverse=True)


def test_results_are_sorted_by_publisher(write_metafile):
    metrics = {
        'box AP (paper, Table 1)': 39.5,
        'mask AP (paper, Table 2)': 35.0,
        "box AP (authors' README)": 40.3,
        'box AP (MMDetection, other_config)': 40.0,
        'box AP': 40.1,
    }
    root = write_metafile(Results=[{'Task': 'Object Detection', 'Metrics': metrics}])
    cells = cells_of(make_table(root), 'a')
    assert cells['paper, authors'] == (
        "box AP 39.5 (paper, Table 1); mask AP 35.0 (paper, Table 2); box AP 40.3 (authors' README)"
    )
    assert cells['MMDetection'] == 'box AP 40.0 (MMDetection, other_config)'
    assert cells['ours'] == 'box AP 40.1'


def test_weights_are_linked(write_metafile):
    root = write_metafile(Weights='https://example.org/a.pth')
    assert cells_of(make_table(root), 'a')['weights'] == '[model](https://example.org/a.pth)'


@pytest.mark.parametrize('fields', [{}, {'Weights': 'none yet/'}])
def test_empty_columns_are_left_out(fields, write_metafile):
    cells = cells_of(make_table(write_metafile(**fields)), 'a')
    assert list(cells) == ['config', 'method']


@pytest.mark.parametrize('metric', ['box AP (somebody)', 'box AP (paper'])
def test_metric_of_unknown_source_is_an_error(metric, write_metafile):
    root = write_metafile(Results=[{'Metrics': {metric: 1.0}}])
    with pytest.raises(ValueError, match='a: metric'):
        make_table(root)


def test_table_replaces_the_one_between_the_comments():
    readme = f'before\n{BEGIN}\nold\n{END}\nafter\n'
    assert insert_table(readme, 'new') == f'before\n{BEGIN}\n\nnew\n\n{END}\nafter\n'


@pytest.mark.parametrize('readme', ['', BEGIN, f'{END}{BEGIN}', f'{BEGIN}{BEGIN}{END}'])
def test_readme_without_the_comments_is_an_error(readme):
    with pytest.raises(ValueError, match='must have the lines'):
        insert_table(readme, 'new')
