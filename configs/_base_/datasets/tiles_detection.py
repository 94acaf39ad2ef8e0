# High-resolution tiles or images, flipped in both directions, because aerial views have no "up".
_base_ = './custom_detection.py'
image_scale = (1024, 1024)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
images = dict(data_prefix=dict(img='images/'))
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline, **images))
val_dataloader = dict(batch_size=1, dataset=dict(pipeline=test_pipeline, **images))
test_dataloader = val_dataloader
