"""Layers that the backbones and heads are made of."""

from .grouped_non_local import GroupedNonLocal
from .guidance_fusion import (
    GUIDANCE_FUSIONS,
    AddFusion,
    ConcatFusion,
    ProductFusion,
    SumFusion,
)
from .score_fusion import SCORE_FUSIONS
from .stage_guidance import ImagePyramidTransformation, StageGuidance, shrink_image

__all__ = [
    'GUIDANCE_FUSIONS',
    'SCORE_FUSIONS',
    'AddFusion',
    'ConcatFusion',
    'GroupedNonLocal',
    'ImagePyramidTransformation',
    'ProductFusion',
    'StageGuidance',
    'SumFusion',
    'shrink_image',
]
