"""Small ground truths and detections, written as in COCO."""

from mmdet_detnet.evaluation.metrics import GroundTruth

CLASSES = {1: 'cat', 2: 'dog'}
# Two boxes apart, both medium in COCO's sense; and a part of the first one.
BOX, OTHER_BOX = [0, 0, 40, 40], [100, 100, 40, 40]
PART = [0, 0, 40, 15]


def make_truth(*objects, classes=CLASSES, images=3, **annotation):
    """Ground truth with objects given as (image, category, box)."""
    return GroundTruth(
        classes,
        [
            dict(id=i, file_name=f'{i}.jpg', path=f'{i}.jpg', width=200, height=200)
            for i in range(1, images + 1)
        ],
        [
            {
                'id': number,
                'image_id': image,
                'category_id': category,
                'bbox': box,
                'area': box[2] * box[3],
                'iscrowd': 0,
                **annotation,
            }
            for number, (image, category, box) in enumerate(objects, 1)
        ],
    )


def detect(image, category, box, score):
    return dict(image_id=image, category_id=category, bbox=box, score=score)
