"""A conv-head that trains on positive RoIs only, and where that changes nothing."""

import pytest
import torch
from small_double_head import EXT
from torch import nn

NORMS = {
    'group norm': dict(type='GN', num_groups=4),
    'batch norm': dict(type='BN'),
}


def gradients(roi_head, feats, sampled):
    """Compute the losses and the gradient of every parameter."""
    roi_head.zero_grad()
    losses = roi_head.bbox_loss(feats, sampled)['loss_bbox']
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    return losses, {name: parameter.grad for name, parameter in roi_head.named_parameters()}


def largest_difference(ones, others):
    """Compare gradients, each relative to its largest value."""
    assert ones.keys() == others.keys()
    return max(
        ((ones[name] - others[name]).abs().max() / others[name].abs().max()).item() for name in ones
    )


@pytest.fixture
def both_ways(make_roi_head, feats, sample_rois):
    """Compare 'auto' or True with False, on one set of RoIs."""

    def compare(option, norm, frozen=False):
        results = []
        for positives_only in (option, False):
            roi_head = make_roi_head(
                regress_positives_only=positives_only, head=dict(norm_cfg=NORMS[norm])
            ).train()
            for module in roi_head.modules():
                if frozen and isinstance(module, nn.BatchNorm2d):
                    module.eval()
            torch.manual_seed(0)  # of the sampler
            results.append(gradients(roi_head, feats, sample_rois(roi_head, 3, 2)))
        (ours, our_gradients), (exact, exact_gradients) = results
        assert ours['loss_cls'] == exact['loss_cls']
        return (
            ours['loss_bbox'],
            exact['loss_bbox'],
            largest_difference(our_gradients, exact_gradients),
        )

    return compare


@pytest.mark.parametrize(('norm', 'frozen'), [('group norm', False), ('batch norm', True)])
def test_same_losses_and_gradients_where_no_layer_mixes_rois(both_ways, norm, frozen):
    for option in ('auto', True):
        loss, exact_loss, difference = both_ways(option, norm, frozen)
        torch.testing.assert_close(loss, exact_loss)
        assert loss > 0
        assert difference < 1e-5


def test_batch_norm_in_training_makes_a_difference(both_ways):
    *_, difference = both_ways(True, 'batch norm')
    assert difference > 1e-2
    loss, exact_loss, difference = both_ways('auto', 'batch norm')
    assert loss == exact_loss and difference == 0


@pytest.mark.parametrize(
    ('head', 'positives_only'),
    [
        (dict(norm_cfg=NORMS['group norm']), True),
        (dict(norm_cfg=NORMS['batch norm']), False),
        (dict(norm_cfg=dict(type='SyncBN')), False),
        (dict(norm_cfg=NORMS['group norm'], **EXT), False),
        (dict(norm_cfg=NORMS['group norm'], lambda_fc=0.7), True),
    ],
)
def test_auto_takes_the_positives_where_they_suffice(
    make_roi_head, feats, sample_rois, head, positives_only
):
    roi_head = make_roi_head(head=head).train()
    sampled = sample_rois(roi_head, 3, 2)
    counts = []
    roi_head.bbox_head.conv_features = lambda x: (
        counts.append(len(x)) or x.new_zeros(len(x), roi_head.bbox_head.conv_out_channels)
    )
    roi_head.bbox_loss(feats, sampled)
    number = sum(len(result.pos_priors if positives_only else result.priors) for result in sampled)
    assert counts == [number]


@pytest.mark.parametrize('option', [True, 'auto'])
@pytest.mark.parametrize('numbers', [(3, 2), (2, 0), (0, 0)])
def test_every_parameter_has_a_gradient_without_positives_too(
    make_roi_head, feats, sample_rois, numbers, option
):
    roi_head = make_roi_head(
        regress_positives_only=option, head=dict(norm_cfg=NORMS['group norm'])
    ).train()
    losses, grads = gradients(roi_head, feats, sample_rois(roi_head, *numbers))
    assert set(losses) == {'loss_cls', 'acc', 'loss_bbox'}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())


def test_norms_that_are_synchronized_later_are_refused_in_training(
    make_roi_head, feats, sample_rois
):
    roi_head = make_roi_head(regress_positives_only=True).train()
    roi_head = nn.SyncBatchNorm.convert_sync_batchnorm(roi_head)
    with pytest.raises(ValueError, match='regress_positives_only must be .* with SyncBN'):
        roi_head.bbox_loss(feats, sample_rois(roi_head, 3, 2))
