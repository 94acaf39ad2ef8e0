# One module of this package in a model that is not mmdet's, in the project's own scope.
default_scope = 'other_project'
custom_imports = dict(imports=['other_project.models'], allow_failed_imports=False)
backbone = dict(type='mmdet_detnet.DetNet', depth=59, base_channels=8)
model = dict(type='Classifier', num_classes=2, backbone=backbone)
train_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='Photographs', metainfo=dict(classes=('circle', 'triangle'))),
)
train_cfg = dict(by_epoch=True, max_epochs=7)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.25))
