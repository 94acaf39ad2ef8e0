"""Layers that the backbones and heads are made of."""

from .guidance_fusion import AddFusion, ConcatFusion, ProductFusion, SumFusion
from .image_pyramid_guidance import ImagePyramidTransformation, StageGuidance, shrink_image

__all__ = [
    'AddFusion',
    'ConcatFusion',
    'ImagePyramidTransformation',
    'ProductFusion',
    'StageGuidance',
    'SumFusion',
    'shrink_image',
]
