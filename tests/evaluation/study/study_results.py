"""Results made by hand."""

from mmdet_detnet.evaluation.study import Run, Study
from mmdet_detnet.evaluation.study.matches import METRICS


def make_result(detector, seed, hits, data_set='cells'):
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
        data_set=data_set,
        seed=seed,
        config='config.py',
        options={},
        config_hash=f'of {detector}',
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


def make_study(seeds=(0, 1, 2)):
    """Make the plan of a detector and its control."""
    names = [(seed, name) for seed in seeds for name in ('plain', 'better')]
    runs = tuple(Run(name, 'cells', seed, 'config.py', {}) for seed, name in names)
    return Study(runs, (('better', 'plain'),))
