# Stages 2 to 4 are guided.
_base_ = [
    '../_base_/models/faster-rcnn_ipgnet50_fpn.py',
    '../_base_/datasets/coco_detection_8xb4.py',
    '../_base_/schedules/schedule_ipgnet.py',
    '../_base_/default_runtime.py',
]
