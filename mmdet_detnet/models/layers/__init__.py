"""Layers that the backbones and heads are made of."""

from .grouped_non_local import GroupedNonLocal
from .guidance_fusion import AddFusion, ConcatFusion, ProductFusion, SumFusion
from .image_pyramid_guidance import ImagePyramidTransformation, StageGuidance, shrink_image
from .score_fusion import FUSIONS

__all__ = [
    'FUSIONS',
    'AddFusion',
    'ConcatFusion',
    'GroupedNonLocal',
    'ImagePyramidTransformation',
    'ProductFusion',
    'StageGuidance',
    'SumFusion',
    'shrink_image',
]
