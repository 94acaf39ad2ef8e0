from mmengine.config import read_base

with read_base():
    from .new_style_base import model, optim_wrapper, train_cfg, train_dataloader

# The heads' own defaults are texts such as 'DeltaXYWHBBoxCoder', which are mmdet's.
default_scope = 'mmdet'
model.bbox_head.num_classes = 2
train_dataloader.dataset.update(
    data_root='data/shapes/',
    ann_file='annotations/train.json',
    data_prefix=dict(img='train/'),
    metainfo=dict(classes=('circle', 'triangle')),
)
train_cfg.max_epochs = 7
optim_wrapper.optimizer.lr = 0.25
