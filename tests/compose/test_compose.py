"""Every backbone with every detector: the config builds, trains a step and predicts."""

import pytest
import torch
from helpers import NARROWER, make_narrow
from matrix import BACKBONES, DETECTORS, make_config
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.logging import MessageHub

# Together they have each backbone and each detector.
DIAGONAL = {
    (list(BACKBONES)[index % len(BACKBONES)], detector)
    for index, detector in enumerate(DETECTORS, start=1)
}
CELLS = [
    pytest.param(
        backbone,
        detector,
        marks=[] if (backbone, detector) in DIAGONAL else pytest.mark.matrix,
        id=f'{backbone}-{detector}',
    )
    for backbone in BACKBONES
    for detector in DETECTORS
]


@pytest.fixture
def build(tmp_path):
    """Build the detector of a cell, an eighth as wide."""

    def build(backbone, detector):
        file = tmp_path / 'config.py'
        file.write_text(make_config(backbone, detector))
        model = Config.fromfile(file).model
        if 'roi_head' in model:
            use_few_rois(model)
        is_swin = model.backbone.type == 'SwinTransformer'
        model.backbone.update({'embed_dims': 12} if is_swin else {'base_channels': 64})
        make_narrow(model)
        if 'num_queries' in model:
            model.num_queries = 20  # of the 126 places on four levels of a small image
            model.neck.out_channels *= NARROWER  # the decoder keeps its width
        torch.manual_seed(0)
        detector = MODELS.build(model)
        detector.init_weights()  # DINO's embeddings have no values before
        return detector

    return build


def use_few_rois(model):
    stages = model.train_cfg.rcnn
    for stage in stages if isinstance(stages, list) else [stages]:
        stage.sampler.num = 8
    model.train_cfg.rpn_proposal.max_per_img = 20
    model.test_cfg.rpn.max_per_img = 10


@pytest.mark.parametrize(('backbone', 'detector'), CELLS)
def test_cell_trains_and_predicts(backbone, detector, build):
    model = build(backbone, detector).train()
    MessageHub.get_current_instance().update_info('epoch', 0)  # TOOD asks for it
    inputs = demo_mm_inputs(
        2, [(3, 64, 96)] * 2, num_items=[2, 2], with_mask=detector == 'Mask R-CNN'
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    data = model.data_preprocessor(inputs, training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(inputs), mode='predict')
    assert len(results) == 2
    assert all(result.pred_instances.scores.isfinite().all() for result in results)
