"""What a config trains with, in the words of the tables of docs/recipes.md."""

from pathlib import PurePosixPath

import torch
from mmdet.registry import MODELS, TASK_UTILS

WARM_UP, STEPS, COSINE = 'LinearLR', 'MultiStepLR', 'CosineAnnealingLR'


def describe_schedule(config):
    """Say what a row of the schedules' table says, by its columns."""
    optimizer, schedulers = config.optim_wrapper.optimizer, param_schedulers(config)
    clip = config.optim_wrapper.get('clip_grad')
    batch, base = config.train_dataloader.batch_size, config.auto_scale_lr.base_batch_size
    momentum = optimizer.get('momentum')
    return {
        'epochs': epochs(config),
        'steps after': decay(schedulers),
        'optimizer': f'{optimizer.type} {momentum}' if momentum else optimizer.type,
        'rate': learning_rate(config.optim_wrapper),
        'weight decay': weight_decay(config.optim_wrapper),
        'clipped at': f'{clip.max_norm:g}' if clip else '-',
        'warm-up': warm_up(schedulers),
        'batch': f'{base // batch} x {batch}',
    }


def epochs(config):
    repeats = config.train_dataloader.dataset.get('times', 1)
    return f'{config.train_cfg.max_epochs}' + (f' x {repeats}' if repeats > 1 else '')


def param_schedulers(config):
    schedulers = config.param_scheduler
    return {s.type: s for s in (schedulers if isinstance(schedulers, list) else [schedulers])}


def decay(schedulers):
    if COSINE in schedulers:
        return f'cosine over {schedulers[COSINE].T_max}'
    steps = schedulers.get(STEPS)
    return f'{numbers(steps.milestones)} (x {steps.gamma:g})' if steps else '-'


def warm_up(schedulers):
    ramp = schedulers.get(WARM_UP)
    return f'{ramp.end} from {ramp.start_factor:.3g}' if ramp else '-'


def learning_rate(optim_wrapper):
    biases = optim_wrapper.get('paramwise_cfg', {}).get('bias_lr_mult', 1)
    return f'{optim_wrapper.optimizer.lr:g}' + (f', biases x {biases:g}' if biases != 1 else '')


def weight_decay(optim_wrapper):
    factors = optim_wrapper.get('paramwise_cfg', {})
    without = [
        f', {layers} 0'
        for layers, option in (('norms', 'norm_decay_mult'), ('biases', 'bias_decay_mult'))
        if factors.get(option, 1) == 0
    ]
    return f'{optim_wrapper.optimizer.weight_decay:g}{"".join(without)}'


def describe(config):
    """Say what a config's row says, by the columns of whichever table it is in."""
    model = config.model
    with torch.device('meta'):
        backbone = MODELS.build(model.backbone)
    row = {
        'images': image_sizes(config),
        **describe_backbone(backbone),
        'starts from': starting_weights(config),
    }
    if 'roi_head' in model:
        row |= describe_roi_head(model)
    if 'bbox_head' in model:
        row |= describe_confidence(model.bbox_head)
    return row | describe_dense_head(model) if 'test_cfg' in model else row


def image_sizes(config):
    """Sizes of training and of both tests; one where they agree."""
    loaders = (config.train_dataloader, config.val_dataloader, config.test_dataloader)
    sizes = [size for loader in loaders for size in sizes_of(loader.dataset)]
    return ' / '.join(dict.fromkeys(sizes))


def sizes_of(dataset):
    while 'pipeline' not in dataset:
        dataset = dataset.get('dataset') or dataset.datasets[0]
    for transform in dataset.pipeline:
        size = transform.get('scale', transform.get('crop_size'))
        if size:
            yield 'x'.join(map(str, size)) if isinstance(size, (list, tuple)) else str(size)


def describe_backbone(backbone):
    """Say what is built, arguments that the config leaves to their defaults included."""
    return {
        'backbone': backbone_name(backbone),
        'frozen': {-1: 'nothing', 0: 'stem', 1: 'stem, stage 1'}[backbone.frozen_stages],
        'norms': norms(backbone),
        'zero-init': yes_no(backbone.zero_init_residual),
        'guided': numbers(getattr(backbone, 'fused_stages', ())) or '-',
        'fusion': getattr(backbone, 'fusion', '-'),
        'guidance from 0': yes_no(getattr(backbone, 'zero_init_guidance', False)),
    }


def backbone_name(backbone):
    name = f'{type(backbone).__name__}-{backbone.depth}'
    if hasattr(backbone, 'groups'):
        name += f' {backbone.groups}x{backbone.base_width}d'
    if backbone.base_channels != 64:
        name += f' / {64 // backbone.base_channels}'
    if getattr(backbone, 'projection', 'both') != 'both':
        name += f', projection {backbone.projection}'
    return name + ('' if backbone.style == 'pytorch' else f', {backbone.style}')


def norms(backbone):
    """Say whether norms learn, and whose statistics they take."""
    learn = '' if backbone.norm_cfg.get('requires_grad', True) else 'frozen '
    return f'{learn}{backbone.norm_cfg["type"]}' + (', eval' if backbone.norm_eval else '')


def starting_weights(config):
    """Name the file, or the config whose training ends in it."""
    source = config.load_from or (config.model.backbone.get('init_cfg') or {}).get('checkpoint')
    path = PurePosixPath(source or 'nothing')
    return path.parent.name if path.parts[0] == 'work_dirs' else path.name


def describe_dense_head(model):
    head = model.get('rpn_head', model.get('bbox_head'))
    generator = TASK_UTILS.build(head.anchor_generator)
    phases = (model.train_cfg.get('rpn_proposal'), model.test_cfg.get('rpn'))
    proposals = [numbers((cfg.nms_pre, cfg.max_per_img)) for cfg in phases if cfg]
    return {
        'anchors': numbers(map(smallest_anchor, generator.base_anchors)),
        'at strides': numbers(stride for stride, _ in generator.strides),
        'proposals': ' / '.join(proposals) or '-',
        'score_thr': f'{model.test_cfg.get("rcnn", model.test_cfg).score_thr:.3g}',
    }


def describe_confidence(head_config):
    with torch.device('meta'):
        head = MODELS.build(head_config)
    return {
        'exponent': f'{getattr(head, "conf_exponent", 0):g}',
        'selects by': getattr(head, 'select_by', '-'),
        'IoU detached': yes_no(getattr(head, 'detach_iou_target', False)),
    }


def smallest_anchor(anchors):
    """Side of the square whose area the smallest anchors of a level have, in pixels."""
    return round((anchors[:, 2:] - anchors[:, :2]).prod(1).min().sqrt().item())


def describe_roi_head(model):
    extractors = {key: model.roi_head[key] for key in model.roi_head if key.endswith('_extractor')}
    strides = {numbers(extractor.featmap_strides) for extractor in extractors.values()}
    heads = model.roi_head.bbox_head
    (head,) = distinct_stages(heads if isinstance(heads, list) else [heads])
    num_nonlocal = head.get('num_nonlocal', 0)
    return {
        'RoIs at': ' / '.join(sorted(strides)),
        'enlarged': f'{model.roi_head.get("reg_roi_scale_factor", 1):g}',
        'conv-head': f'{1 + head.num_convs} + {num_nonlocal}' if 'num_convs' in head else '-',
        'weights': f'{head.loss_cls.loss_weight:g}, {head.loss_bbox.loss_weight:g}',
        'box loss': box_loss(head.loss_bbox),
        'lambdas': f'{head.get("lambda_fc", 1):g}, {head.get("lambda_conv", 1):g}',
        'scores': head.get('fusion', 'none'),
    }


def distinct_stages(heads):
    """Tell apart the stages of a cascade by all but the coders of their boxes."""
    stages = [{key: value for key, value in h.items() if key != 'bbox_coder'} for h in heads]
    return [heads[0]] if all(stage == stages[0] for stage in stages) else heads


def box_loss(loss):
    return f'{loss.type} {loss.beta:g}' if 'beta' in loss else loss.type


def numbers(values):
    return ' '.join(f'{value:g}' for value in values)


def yes_no(value):
    return 'yes' if value else 'no'
