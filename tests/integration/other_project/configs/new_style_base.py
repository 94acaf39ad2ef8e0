# New style, all Python objects. mmdet's wheel holds no such configs to derive from.
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import PackDetInputs
from mmdet.models import FPN, DetDataPreprocessor, RetinaNet
from mmdet.models.task_modules import AnchorGenerator
from mmengine.dataset import DefaultSampler
from torch.optim import SGD

from mmdet_detnet.models import ConfidenceRetinaHead, DetNet

model = dict(
    type=RetinaNet,
    data_preprocessor=dict(type=DetDataPreprocessor),
    backbone=dict(type=DetNet, depth=59, base_channels=8, out_indices=(1, 2, 4)),
    neck=dict(type=FPN, in_channels=[64, 128, 128], out_channels=16, num_outs=3),
    bbox_head=dict(
        type=ConfidenceRetinaHead,
        num_classes=80,
        in_channels=16,
        feat_channels=16,
        anchor_generator=dict(
            type=AnchorGenerator,
            ratios=[0.5, 1.0, 2.0],
            octave_base_scale=4,
            scales_per_octave=3,
            strides=[8, 16, 16],
        ),
    ),
)
train_dataloader = dict(
    batch_size=1,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(type=CocoDataset, pipeline=[dict(type=PackDetInputs)]),
)
train_cfg = dict(by_epoch=True, max_epochs=12)
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.01))
