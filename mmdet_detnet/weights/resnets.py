"""ImageNet weights of ResNets with the names of timm and mmpretrain.

mmdet's ResNet, the trunk of IPGNet and the first stages of DetNet have torchvision's names, so
files with these names need no conversion. timm and mmpretrain differ in the deep stem, and
mmpretrain adds the prefix ``backbone.``.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping

from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import Bottleneck
from torch import Tensor

from .conversion import WeightSource

BLOCK = re.compile(r'layer(\d+)\.(\d+)\.')
# mmdet's deep stem is one Sequential: a convolution, a norm and a ReLU, three times.
STEM_KEY = re.compile(r'stem\.(\d)\.(.+)')
LAST_STEM_NORM = 7
USAGE = (
    "backbone dict(type='ResNet', depth=..., style='pytorch'{stem}), or IPGNet or DetNet likewise; "
    "RGB images normalized as the weights' own configuration says"
)


def timm_name(key: str) -> str:
    """Convert mmdet's name of a tensor to timm's, whose deep stem is ``conv1`` and ``bn1``."""
    match = STEM_KEY.fullmatch(key)
    if not match:
        return key
    index, tensor = int(match[1]), match[2]
    return f'bn1.{tensor}' if index == LAST_STEM_NORM else f'conv1.{index}.{tensor}'


def mmpretrain_name(key: str) -> str:
    """Convert mmdet's name of a tensor to mmpretrain's, whose deep stem is three ConvModules."""
    match = STEM_KEY.fullmatch(key)
    if not match:
        return f'backbone.{key}'
    module, layer = divmod(int(match[1]), 3)
    return f'backbone.stem.{module}.{("conv", "bn")[layer]}.{match[2]}'


def match_resnet(
    state: Mapping[str, Tensor], foreign_name: Callable[[str], str], prefix: str = ''
) -> tuple[ResNet, Callable[[str], str]]:
    """Build mmdet's ResNet with the depth and stem of a file's state dict.

    ``foreign_name`` converts mmdet's name of a tensor to the file's, which starts with ``prefix``.

    Raises:
        ValueError: If it is a ResNet-D or has a depth that mmdet does not support.
    """
    if f'{prefix}layer2.0.downsample.2.weight' in state:
        raise ValueError(
            'this is a ResNet-D (its shortcuts pool before they convolve: '
            f'{prefix}layer2.0.downsample.2.weight); only ResNets without that are converted.'
        )
    depth = find_depth([key.removeprefix(prefix) for key in state if key.startswith(prefix)])
    return ResNet(depth, deep_stem=foreign_name('stem.0.weight') in state), foreign_name


def find_depth(keys: list[str]) -> int:
    """Detect a ResNet's depth from its number and kind of blocks; ValueError if mmdet has none."""
    places = {(int(m[1]), int(m[2])) for m in map(BLOCK.match, keys) if m}
    numbers = Counter(stage for stage, _ in places)
    stages = tuple(numbers[stage] for stage in sorted(numbers))
    convolutions = 3 if 'layer1.0.conv3.weight' in keys else 2
    for depth, (block, stage_blocks) in ResNet.arch_settings.items():
        if stage_blocks == stages and (block is Bottleneck) == (convolutions == 3):
            return depth
    raise ValueError(
        f'no ResNet of depth {", ".join(map(str, ResNet.arch_settings))} has stages of {stages} '
        f'blocks with {convolutions} convolutions each.'
    )


TIMM = WeightSource(
    title="a ResNet with a deep stem and timm's layer names",
    usage=USAGE.format(stem=', deep_stem=True'),
    recognizes=lambda state: 'conv1.0.weight' in state and 'layer1.0.conv1.weight' in state,
    match=lambda state: match_resnet(state, timm_name),
    unused=r'fc\.(weight|bias)',
    container='state_dict',
)
MMPRETRAIN = WeightSource(
    title='a ResNet as mmpretrain names its layers',
    usage=USAGE.format(stem=', deep_stem=True if it has one'),
    recognizes=lambda state: (
        'backbone.layer1.0.conv1.weight' in state
        and all(key.startswith(('backbone.', 'head.')) for key in state)
    ),
    match=lambda state: match_resnet(state, mmpretrain_name, 'backbone.'),
    unused=r'head\.fc\.(weight|bias)',
    container='state_dict',
)
