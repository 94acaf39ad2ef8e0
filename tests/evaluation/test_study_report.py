"""The results of a study: their evaluation, their files, and the report."""

import json
import lzma

import cv2
import numpy as np
import pytest

from mmdet_detnet.evaluation import study_report
from mmdet_detnet.evaluation.metrics import GroundTruth, coco_figures
from mmdet_detnet.evaluation.study import Run, Study, execute
from mmdet_detnet.evaluation.study_report import (
    COCO_THRESHOLDS,
    IOU_THRESHOLDS,
    METRICS,
    PACKED,
    Comparison,
    Estimate,
    average_precisions,
    bootstrap,
    compute_p_value,
    correct_by_holm,
    decide,
    estimate_mean,
    evaluate,
    pack_results,
    read_results,
    reduce_matches,
    resample,
    write_report,
)

CLASSES = ('open', 'short')
JUDGED, OTHER_METRICS, DETECTORS = 0, 2, 3  # the report's tables, between other paragraphs


def make_result(detector, seed, hits):
    """Make the result of a run with one object an image, found (1) or not (0)."""
    ap = sum(hits) / len(hits)
    matches = dict(
        truths=[1] * len(hits),
        image=[image for image, hit in enumerate(hits) if hit],
        marked=list(range(sum(hits))),
        hit=[0b11111111111] * sum(hits),
        ignored=[0] * sum(hits),
    )
    return dict(
        detector=detector,
        data_set='cells',
        seed=seed,
        config='config.py',
        options={},
        digest='a',
        epochs=3,
        metrics=dict.fromkeys(METRICS, ap) | dict(APs=None),
        per_class=dict(cell=ap),
        images=len(hits),
        matches=dict(cell=matches),
        final_loss=0.5,
        train_seconds=60.0,
        cpu_seconds=50.0,
        device='x86_64 CPU',
        threads=1,
    )


RUNS = [
    Run(name, 'cells', seed, 'config.py', {}) for seed in range(3) for name in ('plain', 'better')
]
STUDY = Study(tuple(RUNS), (('better', 'plain'),))


def write_coco(folder, truths, detections, num_images=2):
    """Write ground truth and detections: image, class, x, width (all 100 high), then score."""
    annotations = [
        dict(id=i + 1, image_id=image, category_id=label, bbox=[x, 0, width, 100], iscrowd=crowd)
        | dict(area=width * 100)
        for i, (image, label, x, width, crowd) in enumerate(truths)
    ]
    boxes = [
        dict(image_id=image, category_id=label, bbox=[x, 0, width, 100], score=score)
        for image, label, x, width, score in detections
    ]
    images = [dict(id=i, file_name=f'{i}.png', width=640, height=640) for i in range(num_images)]
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES)]
    truth = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'truth.json').write_text(json.dumps(truth))
    (folder / 'boxes.json').write_text(json.dumps(boxes))
    return folder / 'truth.json', folder / 'boxes.json'


@pytest.fixture
def by_hand(tmp_path):
    truths = [(0, 0, 0, 100, 0), (0, 0, 300, 100, 0), (1, 1, 0, 100, 0)]
    detections = [
        (0, 0, 0, 100, 0.9),  # exact
        (0, 0, 360, 100, 0.8),  # IoU 40 / 160 = 0.25: wrong at every threshold
        (0, 0, 350, 100, 0.7),  # IoU 50 / 150 = 0.333: right at 0.33 only
        (1, 1, 0, 80, 0.6),  # IoU 0.8: right up to 0.8
        (1, 1, 400, 50, 0.3),  # nothing there
    ]
    truth, boxes = write_coco(tmp_path, truths, detections)
    content = json.loads(truth.read_text())
    for each in content['annotations']:  # COCO's values, but what trains without it is evaluated
        del each['iscrowd']
    truth.write_text(json.dumps(content))
    return evaluate(truth, boxes, CLASSES)


def test_aps_worked_by_hand(by_hand):
    # `open`, COCO: recall 0.5 at precision 1: 51 of 101 recalls. `short`: 1 at 7 of 10 thresholds.
    assert by_hand['per_class'] == {'open': pytest.approx(51 / 101), 'short': pytest.approx(0.7)}
    metrics = by_hand['metrics']
    assert metrics['AP'] == pytest.approx((51 / 101 + 0.7) / 2)
    assert metrics['AP75'] == pytest.approx((51 / 101 + 1) / 2)
    assert (metrics['APs'], metrics['APm']) == (None, None)  # no such object


def test_deeppcb_measure_worked_by_hand(by_hand):
    # `open`: right, wrong, right: precision 1 up to recall 0.5, then 2/3. `short`: 1.
    assert by_hand['metrics']['AP33'] == pytest.approx(((51 + 50 * 2 / 3) / 101 + 1) / 2)
    # From a score of 0.6 on: 3 of 4 right and 3 of 3 found; 0.9 alone has 2 * 1 / (1 + 3).
    assert by_hand['metrics']['F33'] == pytest.approx(2 * 3 / (4 + 3))


def test_no_detection_and_no_object(tmp_path):
    nothing_found = evaluate(*write_coco(tmp_path, [(0, 0, 0, 100, 0)], []), CLASSES)
    assert (nothing_found['metrics']['AP'], nothing_found['metrics']['F33']) == (0, 0)
    nothing_there = evaluate(*write_coco(tmp_path, [], [(0, 0, 0, 100, 0.5)]), CLASSES)
    assert set(nothing_there['metrics'].values()) == {None}


@pytest.fixture(scope='module')
def scattered(tmp_path_factory):
    """Many boxes at random, crowds among them, and their result."""
    rng = np.random.default_rng(0)
    truths = [
        (image, int(rng.integers(2)), int(rng.integers(500)), int(rng.integers(10, 100)), crowd)
        for image in range(8)
        for crowd in (0, 0, 0, 0, 1)
    ]
    detections = [
        (image, label, x + int(rng.integers(-9, 9)), width, round(rng.random(), 3))
        for image, label, x, width, _ in truths * 3
    ]
    folder = tmp_path_factory.mktemp('scattered')
    return *write_coco(folder, truths, detections, 8), truths, detections


def test_metrics_are_those_of_coco(scattered):
    truth, boxes, _, _ = scattered
    content, detections = (json.loads(file.read_text()) for file in (truth, boxes))
    classes = dict(enumerate(CLASSES))
    objects = GroundTruth(classes, content['images'], content['annotations'])
    figures, precision = coco_figures(objects, detections)
    ours = evaluate(truth, boxes, CLASSES)
    assert 0.1 < ours['metrics']['AP'] < 0.9
    names = dict(AP='AP', AP50='AP50', AP75='AP75', APs='AP_small', APm='AP_medium')
    for name, of_coco in names.items():
        assert ours['metrics'][name] == pytest.approx(figures[of_coco])
    assert ours['per_class']['open'] == pytest.approx(precision[..., 0].mean())


def test_weight_of_an_image_is_its_number_of_copies(scattered, tmp_path):
    _, _, truths, detections = scattered
    weights = np.array([0, 1, 2, 1, 0, 3, 1, 0])
    sources = np.repeat(np.arange(8), weights)
    copied = [
        [(copy, *each[1:]) for copy, i in enumerate(sources) for each in rows if each[0] == i]
        for rows in (truths, detections)
    ]
    expected = evaluate(*write_coco(tmp_path, *copied, len(sources)), CLASSES)
    result = evaluate(*scattered[:2], CLASSES)
    for name, matches in result['matches'].items():
        ap = average_precisions(matches, weights)[COCO_THRESHOLDS].mean()
        assert ap == pytest.approx(expected['per_class'][name], abs=1e-9)


def test_detections_in_a_crowd_count_neither_in_the_matches_nor_in_the_f_score(tmp_path):
    truths = [(0, 0, 0, 100, 0), (0, 0, 300, 100, 1)]
    detections = [(0, 0, 0, 100, 0.8), (0, 0, 300, 100, 0.9), (0, 0, 500, 50, 0.7)]
    result = evaluate(*write_coco(tmp_path, truths, detections), CLASSES)
    all_bits = 2 ** len(IOU_THRESHOLDS) - 1
    assert result['matches']['open'] == dict(
        truths=[1, 0], image=[0, 0, 0], marked=[0, 1], hit=[0, all_bits], ignored=[all_bits, 0]
    )
    assert result['metrics']['F33'] == 1


def test_reduced_matches_are_sorted_between_marked_ones():
    # The order of the detections 2 and 3 tells nothing, nor does 6.
    matches = dict(truths=[2, 1, 1], image=[2, 0, 2, 0, 1, 0, 1], marked=[1, 4, 5])
    matches |= dict(hit=[0b111, 0b10, 0], ignored=[0, 0, 1])
    assert reduce_matches(matches) == matches | dict(image=[2, 0, 0, 2, 1, 0])
    assert reduce_matches(matches | dict(marked=[], hit=[], ignored=[]))['image'] == []


def test_reduced_matches_have_the_same_ap(scattered):
    result = evaluate(*scattered[:2], CLASSES)
    for weights in np.random.default_rng(0).integers(0, 3, (5, 8)):
        for matches in result['matches'].values():
            expected = average_precisions(matches, weights)
            assert (
                average_precisions(reduce_matches(matches), weights).tolist() == expected.tolist()
            )


def write_results(folder, *results):
    (folder / 'results').mkdir(parents=True, exist_ok=True)
    for number, result in enumerate(results):
        (folder / f'results/{number}.json').write_text(json.dumps(result))
    return folder


@pytest.fixture
def results():
    """Two detectors with three seeds each; some matches are not in the reduced order."""
    hits = {'plain': [1, 0, 0], 'better': [1, 1, 0]}
    made = [make_result(name, seed, hits[name]) for name in hits for seed in range(3)]
    matches = dict(truths=[2, 1, 1], image=[2, 0, 2, 0, 1, 0, 1], marked=[1, 4, 5])
    made[0]['matches']['cell'] = matches | dict(hit=[0b111, 0b10, 0], ignored=[0, 0, 1])
    return made


def test_report_of_a_packed_file_is_that_of_its_json_files(results, tmp_path, monkeypatch):
    monkeypatch.setattr(study_report, 'RESAMPLES', 20)
    folder = write_results(tmp_path / 'run', *results)
    assert pack_results(folder, tmp_path / 'kept' / PACKED) == 6
    assert write_report(STUDY, tmp_path / 'kept') == write_report(STUDY, folder)


def test_packed_file_takes_new_results_and_the_same_ones_again(results, tmp_path):
    file = tmp_path / PACKED
    pack_results(write_results(tmp_path / 'first', *results[:4]), file)
    pack_results(write_results(tmp_path / 'others', *results[3:]), file)
    pack_results(write_results(tmp_path / 'all', *results[::-1]), tmp_path / 'at once.xz')
    assert file.read_bytes() == (tmp_path / 'at once.xz').read_bytes()


def test_repeated_run_replaces_a_failed_one(results, tmp_path):
    failed = dict(detector='plain', data_set='cells', seed=0, failure='exit status 1')
    file = tmp_path / PACKED
    pack_results(write_results(tmp_path / 'failed', failed), file)
    pack_results(write_results(tmp_path / 'made', results[0]), file)
    assert 'failure' not in read_results(tmp_path)['cells_plain_seed0']
    with pytest.raises(ValueError, match='different result of cells_plain_seed0'):
        pack_results(tmp_path / 'failed', file)


@pytest.mark.parametrize(
    ('seed', 'change', 'message'),
    [
        (0, dict(final_loss=0.4), 'another, different result of cells_plain_seed0'),
        (7, dict(options={'a': 1}), 'cells_plain_seed0 and cells_plain_seed7 differ in options'),
        (7, dict(config='b.py'), 'differ in config'),
        (7, dict(digest='b'), 'differ in digest'),
        (7, dict(detector='new', per_class=dict(nut=1)), 'differ in per_class'),
    ],
)
def test_results_that_do_not_go_together_are_refused(results, tmp_path, seed, change, message):
    file = tmp_path / PACKED
    pack_results(write_results(tmp_path / 'first', *results), file)
    before = file.read_bytes()
    folder = write_results(tmp_path / 'other', results[0] | dict(seed=seed) | change)
    with pytest.raises(ValueError, match=rf'0.json .*{message}'):
        pack_results(folder, file)
    assert file.read_bytes() == before


@pytest.mark.parametrize('content', [b'text', lzma.compress(b'[1'), lzma.compress(b'[3]')])
def test_damaged_packed_file_is_named(tmp_path, content):
    (tmp_path / PACKED).write_bytes(content)
    with pytest.raises(ValueError, match=f'{PACKED} does not have results of this study'):
        read_results(tmp_path)


def test_file_that_is_no_result_and_missing_results_are_named(tmp_path):
    with pytest.raises(ValueError, match='0.json does not have results of this study'):
        read_results(write_results(tmp_path, dict(cells=1)))
    with pytest.raises(ValueError, match='has no results to pack'):
        pack_results(tmp_path / 'empty', tmp_path / PACKED)
    with pytest.raises(ValueError, match='has no result yet'):
        write_report(STUDY, tmp_path / 'empty')


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Write results, and the report of them."""
    monkeypatch.setattr(study_report, 'RESAMPLES', 20)
    return lambda *results: write_report(STUDY, write_results(tmp_path, *results))


def hits(number):
    return [1] * number + [0] * (10 - number)


def cells(text, table, detector):
    """Read a line of a table."""
    lines = [line.strip('|').split('|') for line in text.split('\n\n')[table].splitlines()]
    (line,) = [line for line in lines if line[1].strip() == detector]
    return [cell.strip() for cell in line]


def test_runs_are_paired_by_seed(report, tmp_path):
    plain = [make_result('plain', seed, hits(4 + seed)) for seed in (2, 0, 1)]
    better = [make_result('better', seed, hits(found)) for seed, found in enumerate((7, 9, 10))]
    row = cells(report(*plain, *better), JUDGED, 'better')
    assert sorted(row[5].split(', ')) == ['+0.300', '+0.400', '+0.400']
    # t = 11 for 2 degrees of freedom: p = 1 - 11 / sqrt(11 ** 2 + 2).
    assert row[6:8] == ['0.008', '0.008']
    # 4.303 is Student's t for 2 degrees, 0.0577 the standard deviation: 0.143 on either side.
    assert row[4] == '+0.367 (+0.223 to +0.510)'
    assert row[-1] == 'gain'
    assert 'verdict' in (tmp_path / 'report.md').read_text()
    assert cv2.imread(str(tmp_path / 'report.png')).std() > 0


def test_small_p_value_is_not_zero(report):
    results = [
        make_result(name, seed, hits(found + seed % 2))
        for name, found in (('plain', 1), ('better', 9))
        for seed in range(3)
    ]
    results[0]['metrics']['AP'] += 0.001  # of equal differences, p would be 0
    assert cells(report(*results), JUDGED, 'better')[6:8] == ['< 0.001', '< 0.001']


def test_report_does_not_replace_a_file_of_the_user(results, tmp_path):
    folder = write_results(tmp_path, *results)
    (folder / 'report.md').write_text('mine')
    for write in (lambda: write_report(STUDY, folder), lambda: execute([], folder, jobs=1)):
        with pytest.raises(FileExistsError, match='report.md is in the way'):
            write()
    assert (folder / 'report.md').read_text() == 'mine'


def test_failed_and_missing_runs_are_listed(report):
    failed = dict(detector='better', data_set='cells', seed=1, failure='exit status 1: no memory')
    text = report(make_result('plain', 0, [1, 0]), make_result('better', 0, [1, 1]), failed)
    assert 'FAILED cells_better_seed1: exit status 1: no memory' in text
    missing = 'cells_plain_seed1, cells_plain_seed2, cells_better_seed2'
    assert f'Not run: {missing}.' in text
    row = cells(text, JUDGED, 'better')
    assert (row[3], row[-1]) == ('1', 'no difference shown')


def test_run_without_partner_is_not_compared(report):
    text = report(make_result('plain', 0, [1, 0]))
    assert '| 0.500 |' in text
    assert 'verdict' not in text


def test_difference_on_validation_images_is_followed_over_the_epochs(report, tmp_path):
    curves = {
        'plain': ([[2, 0.1], [4, 0.2], [6, 0.4]], [[2, 0.2], [4, 0.3], [6, 0.4]]),
        'better': ([[2, 0.1], [4, 0.5], [6, 0.6]], [[2, 0.1], [6, 0.4]]),  # 4 was not validated
    }
    results = [
        make_result(name, seed, hits(5)) | dict(curve=curve)
        for name, both in curves.items()
        for seed, curve in enumerate(both)
    ]
    text = report(*results)
    rows = [line.strip('|').split('|') for line in text.split('\n\n')[3].splitlines()[2:]]
    # Student's t for 1 degree is 12.706, and the standard errors are 0.05 and 0.1.
    assert [[cell.strip() for cell in row[4:]] for row in rows] == [
        ['2', '0.150, 0.100', '-0.050 (-0.685 to +0.585)', '+0.000, -0.100'],
        ['6', '0.400, 0.500', '+0.100 (-1.171 to +1.371)', '+0.200, +0.000'],
    ]
    assert cv2.imread(str(tmp_path / 'curves.png')).std() > 0


def test_metric_that_no_object_defines_and_detectors_that_learned_nothing(report):
    text = report(*(make_result(name, 0, [0, 0]) for name in ('plain', 'better')))
    assert cells(text, OTHER_METRICS, 'better')[6] == '-'  # APs
    assert cells(text, DETECTORS, 'plain')[4:8] == ['0.000', '0.000', '0.000', '-']


@pytest.mark.parametrize(
    ('seeds', 'images', 'verdict'),
    [
        ((0.01, 0.03), (0.01, 0.03), 'gain'),
        ((-0.03, -0.01), (-0.03, -0.01), 'loss'),
        ((-0.01, 0.05), (0.01, 0.03), 'no difference shown'),
        ((0.001, 0.0025), (0.001, 0.0025), 'none'),
        ((0.01, 0.03), (-0.01, 0.05), 'no difference shown'),
    ],
)
def test_verdict_needs_both_intervals(seeds, images, verdict):
    estimates = [Estimate(sum(each) / 2, *each) for each in (seeds, images)]
    assert decide(*estimates) == verdict


def test_interval_worked_by_hand():
    # Mean 0.02, standard deviation 0.01, three values; Student's t for 2 degrees: 4.303.
    estimate = estimate_mean([0.01, 0.02, 0.03])
    margin = 4.3027 * 0.01 / 3**0.5
    assert estimate == pytest.approx((0.02, 0.02 - margin, 0.02 + margin), abs=1e-6)
    assert estimate.includes_zero


def resample_both(module, control):
    resampled = {f'cells_{each["detector"]}_seed0': resample(each) for each in (module, control)}
    return bootstrap(Comparison('cells', 'better', 'plain', [(module, control)]), resampled)


def test_bootstrap_has_the_spread_of_drawn_images():
    # The module finds 30 objects of 100 more: a share with the standard error sqrt(.3 * .7 / 100).
    control = make_result('plain', 0, [1] * 20 + [0] * 80)
    module = make_result('better', 0, [1] * 50 + [0] * 50)
    margin = 1.96 * (0.3 * 0.7 / 100) ** 0.5
    assert resample_both(module, control) == pytest.approx(
        (0.3, 0.3 - margin, 0.3 + margin), abs=0.02
    )


def test_same_images_are_drawn_for_both():
    hits = [1, 0] * 20
    results = [make_result(name, 0, hits) for name in ('better', 'plain')]
    assert resample_both(*results) == Estimate(0, 0, 0)


def test_draws_without_an_object_of_a_class_leave_it_out():
    result = make_result('plain', 0, [1, 0, 1])
    result['matches']['rare'] = dict(truths=[0, 0, 1], image=[2], marked=[], hit=[], ignored=[])
    assert not np.isnan(resample(result)).any()


def test_p_value_worked_by_hand():
    # t = 2 for 1 degree of freedom, Cauchy's distribution: 1 - 2 / pi * arctan(2).
    assert compute_p_value([0.01, 0.03]) == pytest.approx(0.29517, abs=1e-5)
    assert compute_p_value([0.3]) == 1  # one seed
    assert compute_p_value([0.0, 0.0]) == 1
    assert compute_p_value([0.1, 0.1]) == 0


def test_holm_worked_by_hand():
    # In order: 3 * 0.01 = 0.03; 2 * 0.03 = 0.06; 1 * 0.04, but not below the one before.
    assert correct_by_holm([0.01, 0.04, 0.03], 3) == pytest.approx([0.03, 0.06, 0.06])
    assert correct_by_holm([0.5, 0.001], 2) == pytest.approx([0.5, 0.002])
    assert correct_by_holm([0.6, 0.7], 2) == [1, 1]


def test_comparisons_that_are_not_made_yet_count_in_holm():
    assert correct_by_holm([0.04, 0.01], 4) == pytest.approx([0.12, 0.04])
    assert correct_by_holm([], 4) == []
