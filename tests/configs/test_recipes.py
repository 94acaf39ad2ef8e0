"""Every config trains with what docs/recipes.md says."""

from pathlib import Path

import pytest
from mmengine.config import Config
from recipe import describe, describe_schedule

from mmdet_detnet import config_path

PATHS = sorted(Path(config_path()).rglob('*.py'))
FILES = {path.stem: path for path in PATHS if '_base_' not in path.parts}
DOCUMENT = Path(__file__).resolve().parents[2] / 'docs' / 'recipes.md'


def read_tables():
    """Read the rows of all tables, each with the headings of its table."""
    headings = None
    for line in DOCUMENT.read_text().splitlines():
        if not line.startswith('| '):
            headings = headings if line.startswith('|---') else None
            continue
        cells = [cell.strip(' `') for cell in line.strip('|').split('|')]
        if headings is None:
            headings = cells
        else:
            yield dict(zip(headings, cells, strict=True))


ROWS = list(read_tables())
SCHEDULES = {row.pop('schedule'): row for row in ROWS if 'config' not in row}
RECIPES = {row['config']: row for row in ROWS if 'config' in row}


def test_every_config_has_one_row():
    assert sorted(row['config'] for row in ROWS if 'config' in row) == sorted(FILES)


@pytest.mark.parametrize('name', FILES)
def test_config_trains_as_its_row_says(name):
    row = RECIPES[name]
    config = Config.fromfile(FILES[name])
    assert describe_schedule(config) == SCHEDULES[row['schedule']]
    checked = row.keys() - {'config', 'schedule', 'training from'}
    description = describe(config)
    assert {key: description.get(key, '-') for key in checked} == {key: row[key] for key in checked}
