# DetNet-59 as an ImageNet classifier of mmpretrain: average pool over C6, one linear layer.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmdet_detnet.DetNet',
        depth=59,
        out_indices=(4,),
        norm_cfg=dict(type='BN', requires_grad=True),
        # True, DetNet's default, is for detectors that start from these weights.
        norm_eval=False,
        style='pytorch',
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
    ),
)
