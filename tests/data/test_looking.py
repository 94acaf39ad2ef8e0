"""`mmdet-detnet look`: the page stands alone, and its numbers are those of the data set."""

import json
import re

import pytest
import torch

from mmdet_detnet.cli import main
from mmdet_detnet.data import looking


@pytest.fixture(scope='module')
def folder(tiny_detector, tmp_path_factory):
    config, checkpoint = tiny_detector
    out = tmp_path_factory.mktemp('look')
    loaded, load = [], looking.load_detector
    options = ['--checkpoint', str(checkpoint), '--out-dir', str(out), '--score-thr', '0']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looking, 'load_detector', lambda *a, **k: loaded.append(a) or load(*a, **k))
        assert main(['look', str(config), *options]) == 0
    assert len(loaded) == 1
    return out


def test_page_holds_its_pictures(folder):
    page = (folder / 'index.html').read_text()
    sources = re.findall('src="([^"]{30})', page)
    assert len(sources) == 3
    assert all(source.startswith('data:image/png;base64,') for source in sources)
    assert 'href' not in page
    headings = re.findall('<h2>(.*?)</h2>', page)
    assert headings == ['Test images', 'Worst images', 'Confusion matrix']


def test_every_object_is_counted(folder, shapes_root):
    truth = json.loads((shapes_root / 'annotations/val.json').read_text())
    rows = json.loads((folder / 'errors.json').read_text())['classes']
    counts = [
        sum(each['category_id'] == number for each in truth['annotations']) for number in (1, 2, 3)
    ]
    assert [row['objects'] for row in rows] == counts
    assert all(row['found'] + row['missed'] == row['objects'] for row in rows)


def test_checkpoint_of_another_detector_is_refused(tiny_detector, tmp_path, capsys):
    config, checkpoint = tiny_detector
    content = torch.load(checkpoint, weights_only=True)
    del content['state_dict']['backbone.conv1.weight']
    torch.save(content, tmp_path / 'other.pth')
    assert main(['look', str(config), '--checkpoint', str(tmp_path / 'other.pth')]) == 2
    assert 'backbone.conv1.weight' in capsys.readouterr().err
