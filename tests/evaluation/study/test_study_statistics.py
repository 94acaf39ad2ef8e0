import numpy as np
import pytest
from study_results import make_result

from mmdet_detnet.evaluation.study.statistics import (
    Estimate,
    bootstrap_difference,
    compute_p_value,
    correct_by_holm,
    estimate_mean,
)


def test_interval_worked_by_hand():
    # Mean 0.02, standard deviation 0.01, three values; Student's t for 2 degrees: 4.303.
    estimate = estimate_mean([0.01, 0.02, 0.03])
    margin = 4.3027 * 0.01 / 3**0.5
    assert estimate == pytest.approx((0.02, 0.02 - margin, 0.02 + margin), abs=1e-6)
    assert estimate.holds_zero


@pytest.mark.parametrize('values', [[0.1, 0.11, 0.12], [-0.1, -0.11, -0.12]])
def test_interval_on_one_side_of_zero(values):
    assert not estimate_mean(values).holds_zero


def test_one_seed_shows_nothing():
    estimate = estimate_mean([0.3])
    assert estimate.holds_zero
    assert str(estimate) == '+0.300 (-)'


def test_bootstrap_has_the_spread_of_drawn_images():
    # The module finds 30 objects of 100 more: a share with the standard error sqrt(.3 * .7 / 100).
    control = make_result('plain', 0, [1] * 20 + [0] * 80)
    module = make_result('better', 0, [1] * 50 + [0] * 50)
    estimate = bootstrap_difference([(module, control)])
    margin = 1.96 * (0.3 * 0.7 / 100) ** 0.5
    assert estimate == pytest.approx((0.3, 0.3 - margin, 0.3 + margin), abs=0.02)


def test_same_images_are_drawn_for_both():
    result = make_result('plain', 0, [1, 0] * 20)
    assert bootstrap_difference([(result, result)]) == Estimate(0, 0, 0)


def test_draws_without_an_object_of_a_class_leave_it_out():
    result = make_result('plain', 0, [1, 0, 1])
    result['matches']['rare'] = dict(truths=[0, 0, 1], image=[2], marked=[], hit=[], ignored=[])
    assert not np.isnan(bootstrap_difference([(result, result)])).any()


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
