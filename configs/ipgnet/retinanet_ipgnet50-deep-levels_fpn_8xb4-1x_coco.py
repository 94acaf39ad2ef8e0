# The paper's Table 5: RetinaNet on the last four of seven stages. The last two share a stride; here
# they have separate anchors, in the authors' code the same.
_base_ = [
    '../_base_/models/retinanet_ipgnet50_fpn.py',
    '../_base_/datasets/coco_detection_8xb4.py',
    '../_base_/schedules/schedule_ipgnet.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(num_stages=7, out_indices=(3, 4, 5, 6)),
    neck=dict(in_channels=[2048] * 4, start_level=0, add_extra_convs=False, num_outs=4),
    bbox_head=dict(
        anchor_generator=dict(strides=[32, 64, 128, 128], base_sizes=[32, 64, 128, 256])
    ),
)
