"""A model that is no detector, and its data."""

from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.registry import DATASETS

from .registry import MODELS


@MODELS.register_module()
class Classifier(BaseModel):
    def __init__(self, backbone, num_classes):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.num_classes = num_classes

    def forward(self, inputs, mode):
        return self.backbone(inputs)


@DATASETS.register_module()
class Photographs(BaseDataset):
    def load_data_list(self):
        return [{}, {}]
