# What the project changes: appended to each of the configs that derive from a detector.
model = dict(bbox_head=dict(num_classes=2))
train_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_root='data/shapes/',
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=('circle', 'triangle')),
        filter_cfg=dict(filter_empty_gt=False),
    ),
)
train_cfg = dict(max_epochs=7)
optim_wrapper = dict(optimizer=dict(lr=0.25))
val_evaluator = dict(ann_file='data/shapes/annotations/val.json')
test_evaluator = val_evaluator
