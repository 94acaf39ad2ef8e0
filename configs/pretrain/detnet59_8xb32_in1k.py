_base_ = [
    '../_base_/models/detnet59_classifier.py',
    '../_base_/datasets/imagenet_8xb32.py',
    '../_base_/schedules/schedule_imagenet.py',
    '../_base_/classification_runtime.py',
]
