"""The report of a detector, in numbers, on the terminal and as a page."""

import json
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from coco_cases import BOX, OTHER_BOX, detect, make_truth
from mmengine.config import Config

from mmdet_detnet.cli import main
from mmdet_detnet.evaluation import report as report_module
from mmdet_detnet.evaluation.report import format_report, make_report
from mmdet_detnet.evaluation.report_page import look, make_page
from mmdet_detnet.evaluation.score_threshold import ScoreThresholds, read_score_thr

HOSTILE = '<img src=x onerror=alert(1)>&"'


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Three images, one of them with a name that would be HTML."""
    folder = tmp_path_factory.mktemp('images')
    paths = [folder / name for name in ('1.jpg', '2.png', '<b>3.jpg')]
    for path in paths:
        cv2.imwrite(str(path), np.full((200, 200, 3), 127, np.uint8))
    return paths


@pytest.fixture
def small_report(images):
    """Two cats, one of them taken for a dog, with a false cat; and no dog."""
    truth = make_truth((1, 1, BOX), (2, 1, BOX), classes={1: 'cat', 2: HOSTILE})
    for image, path in zip(truth.images, images, strict=True):
        image.update(path=str(path), file_name=path.name)
    detections = [
        detect(1, 1, BOX, 0.9),
        detect(2, 2, BOX, 0.8),
        detect(3, 1, OTHER_BOX, 0.7),
        detect(3, 1, OTHER_BOX, 0.4),
    ]
    thresholds = ScoreThresholds(0.5, {'cat': 0.8})
    return make_report(truth, detections, thresholds, {'Config': 'a <b>.py'})


def test_classes_have_their_own_scores_and_the_total_has_one(small_report):
    cat, dog = small_report.classes
    # Of the 101 recalls, 51 are reached, with precision 1.
    assert (cat.images, cat.objects, cat.score_thr) == (2, 2, 0.8)
    assert cat.ap == cat.ap50 == pytest.approx(51 / 101)
    assert cat.counts == (1, 0, 1)
    assert (dog.images, dog.objects, dog.ap, dog.score_thr) == (0, 0, None, 0.5)
    assert dog.counts == (0, 1, 0)
    assert small_report.total.counts == (1, 2, 1)
    assert small_report.total.ap == small_report.figures['AP'] == cat.ap


def test_moving_the_score_changes_the_counts(small_report):
    moves = dict(small_report.moves)
    assert list(moves) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert [moves[score] for score in (0.1, 0.7, 0.8, 0.9)] == [
        (1, 3, 1),
        (1, 1, 1),
        (1, 0, 1),
        (0, 0, 2),
    ]
    assert small_report.f1[-1, 0] == pytest.approx(2 / 6)
    assert np.isnan(small_report.precisions[1]).all()


def test_numbers_are_plain_json_and_the_worst_images_come_first(small_report):
    content = json.loads(json.dumps(small_report.to_dict(), allow_nan=False))
    assert content['score_thr'] == {'all': 0.5, 'classes': {'cat': 0.8}}
    assert content['classes'][0]['f1'] == pytest.approx(0.4)
    assert content['confusion_matrix'] == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert [image.file_name for image in small_report.worst(5)] == ['2.png', '<b>3.jpg']


def test_terminal_has_a_line_for_each_class(small_report):
    lines = format_report(small_report).splitlines()
    cat = next(line for line in lines if line.startswith('cat'))
    assert cat.split() == 'cat 2 2 0.505 0.505 0.800 1.000 0.500 0.667'.split()


class Reader(HTMLParser):
    """Notes the tags with their attributes, the text and what is not closed."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.open = [], '', []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ('meta', 'input', 'img'):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(small_report, tmp_path):
    reader = Reader()
    reader.feed(make_page(small_report, 'my <i>', tmp_path))
    assert reader.open == []
    return reader


def test_page_needs_no_other_file(page):
    pictures = [attrs['href'] for tag, attrs in page.tags if tag == 'image']
    assert len(pictures) == 3
    assert all(each.startswith('data:image/jpeg;base64,') for each in pictures)
    assert {tag for tag, _ in page.tags} & {'script', 'link', 'img', 'iframe'} == set()
    assert not [attrs for _, attrs in page.tags if 'src' in attrs]


def test_links_of_the_page_lead_to_something(page):
    targets = {attrs['id'] for _, attrs in page.tags if 'id' in attrs}
    links = [attrs['href'] for tag, attrs in page.tags if tag == 'a']
    assert {'#image-1', '#image-2', '#class-0', '#class-1'} <= set(links)
    assert {link.removeprefix('#') for link in links} <= targets


def test_names_from_outside_are_text_and_errors_have_a_caption(page):
    for name in (HOSTILE, '<b>3.jpg', 'a <b>.py', 'my <i>'):
        assert name in page.text
    groups = [attrs['class'] for tag, attrs in page.tags if tag == 'g' and 'class' in attrs]
    assert groups == ['wrong', 'false', 'hit']
    assert f'of a wrong class: {HOSTILE} 0.80, is cat' in page.text


def test_page_without_detections_and_objects(images, tmp_path):
    truth = make_truth(images=1)
    truth.images[0].update(path=str(images[0]))
    text = make_page(make_report(truth, []), 'empty', tmp_path)
    assert 'nan' not in text
    assert '<h2>Worst images</h2>' in text


@pytest.fixture
def shapes_detector(tiny_detector, monkeypatch):
    """A detector of the validation images that finds all objects, and as many false ones."""

    def detections(model, loader):
        for each in report_module.read_ground_truth(loader.dataset).annotations:
            found = {key: each[key] for key in ('image_id', 'category_id', 'bbox')}
            yield dict(found, score=0.8)
            yield dict(found, bbox=[0, 0, 1, 1], score=0.6)

    monkeypatch.setattr(report_module, 'run_detector', detections)
    return tiny_detector


def test_best_score_is_kept_with_a_checkpoint_from_elsewhere(shapes_detector, tmp_path):
    report = report_module.test(*shapes_detector, work_dir=tmp_path, device='cpu')
    assert report.score_thr.all == pytest.approx(0.7)
    assert report.total.counts.f1 == 1
    assert report.metrics['coco/bbox_mAP_75'] == pytest.approx(1)
    assert 'on these same images' in report.source['Score']
    assert read_score_thr(shapes_detector[1], tmp_path) == report.score_thr


def test_score_comes_from_the_validation_images(shapes_detector, shapes_root, tmp_path):
    # Without objects there, no score can be chosen.
    empty = json.loads((shapes_root / 'annotations/val.json').read_text()) | {'annotations': []}
    (tmp_path / 'empty.json').write_text(json.dumps(empty))
    options = {'val_dataloader.dataset.ann_file': str(tmp_path / 'empty.json')}
    report = report_module.test(
        *shapes_detector, work_dir=tmp_path, cfg_options=options, device='cpu'
    )
    assert report.score_thr == ScoreThresholds(0.3, {})
    assert 'empty.json' in report.source['Score']
    inner = Config.fromfile(shapes_detector[0]).val_dataloader.dataset
    several = {'type': 'ConcatDataset', 'datasets': [inner], '_delete_': True}
    with pytest.raises(ValueError, match='must be a CocoDataset, got ConcatDataset'):
        options = {'val_dataloader.dataset': several}
        report_module.test(*shapes_detector, tmp_path, cfg_options=options, device='cpu')
    options = dict.fromkeys(('val_dataloader', 'val_evaluator', 'val_cfg'))
    report = report_module.test(
        *shapes_detector, work_dir=tmp_path, cfg_options=options, device='cpu'
    )
    assert 'above 0.300: the config has no validation images' in report.source['Score']
    assert not (tmp_path / 'score_thr.json').exists()


def test_given_score_is_used(shapes_detector, tmp_path):
    report = report_module.test(*shapes_detector, tmp_path, score_thr=0.9, device='cpu')
    assert report.total.counts.found == 0
    with pytest.raises(ValueError, match='score_thr must be in'):
        report_module.test(*shapes_detector, tmp_path, score_thr=2)


def test_look_writes_the_page_and_the_numbers(shapes_detector, tmp_path, monkeypatch):
    config, checkpoint = shapes_detector
    monkeypatch.chdir(config.parent)
    page = look(*shapes_detector, tmp_path, device='cpu')
    assert page == tmp_path / 'look/index.html'
    # Paths in the working directory are relative, so that the page can be given away.
    assert f'mmdet-detnet look config.py --checkpoint {checkpoint.name}' in page.read_text()
    numbers = json.loads((tmp_path / 'look/report.json').read_text())
    assert numbers['source']['Checkpoint'] == checkpoint.name
    assert numbers['figures']['AP'] == pytest.approx(1)
    # A second time, it replaces its own files only.
    look(*shapes_detector, tmp_path, score_thr=0.2, device='cpu')
    assert f'--checkpoint {checkpoint.name} --score-thr 0.2' in page.read_text()
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/index.html').write_text('my page')
    with pytest.raises(FileExistsError, match=r'index\.html is in the way'):
        look(*shapes_detector, tmp_path, tmp_path / 'mine')


def test_untrained_detector_can_be_tested_from_the_command_line(tiny_detector, tmp_path, capsys):
    config, checkpoint = map(str, tiny_detector)
    options = ['--checkpoint', checkpoint, '--work-dir', str(tmp_path)]
    assert main(['test', config, *options]) == 0
    printed = capsys.readouterr().out
    assert 'all classes' in printed
    assert 'mmengine' not in printed
