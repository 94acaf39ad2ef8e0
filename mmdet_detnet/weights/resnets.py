"""ImageNet weights of ResNets, as timm and mmpretrain name them.

mmdet's ResNet has torchvision's names, and so have the trunk of IPGNet and the first stages of
DetNet: what has these is loaded as it is. timm and mmpretrain differ in the deep stem, and
mmpretrain puts ``backbone.`` in front.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping

from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import Bottleneck
from torch import Tensor

from .conversion import Counterpart, Layout, WeightSource, shapes_of

BLOCK = re.compile(r'layer(\d+)\.(\d+)\.')
# mmdet's deep stem is one Sequential: a convolution, a norm and a ReLU, three times.
STEM_KEY = re.compile(r'stem\.(\d)\.(.+)')
LAST_STEM_NORM = 7
USAGE = (
    "backbone dict(type='ResNet', depth=..., style='pytorch'{stem}), or IPGNet or DetNet likewise; "
    "RGB images normalized as the weights' own configuration says"
)


def timm_name(key: str) -> str:
    """Give timm's name of a tensor, by mmdet's: the deep stem is ``conv1`` and ``bn1``."""
    match = STEM_KEY.fullmatch(key)
    if not match:
        return key
    index, tensor = int(match[1]), match[2]
    return f'bn1.{tensor}' if index == LAST_STEM_NORM else f'conv1.{index}.{tensor}'


def mmpretrain_name(key: str) -> str:
    """Give mmpretrain's name of a tensor, by mmdet's: the deep stem is three ConvModules."""
    match = STEM_KEY.fullmatch(key)
    if not match:
        return f'backbone.{key}'
    module, layer = divmod(int(match[1]), 3)
    return f'backbone.stem.{module}.{("conv", "bn")[layer]}.{match[2]}'


def resnet_layout(
    state: Mapping[str, Tensor],
    foreign_name: Callable[[str], str],
    classifier: str,
    prefix: str = '',
) -> Layout:
    """List the tensors of a ResNet that has the depth and the stem of a state dict's.

    Args:
        state: The foreign state dict.
        foreign_name: Gives the foreign name of a tensor by mmdet's.
        classifier: Foreign name of the classifier, which the file may lack.
        prefix: What the foreign names of the backbone begin with.

    Returns:
        What becomes of each tensor, for mmdet's ResNet.

    Raises:
        ValueError: If it is a ResNet-D, or of another depth than mmdet's.
    """
    if f'{prefix}layer2.0.downsample.2.weight' in state:
        raise ValueError(
            'this is a ResNet-D (its shortcuts pool before they convolve: '
            f'{prefix}layer2.0.downsample.2.weight); only ResNets without that are converted.'
        )
    depth = find_depth(state, prefix)
    deep_stem = foreign_name('stem.0.weight') in state
    shapes = shapes_of(lambda: ResNet(depth, deep_stem=deep_stem))
    layout = {foreign_name(key): Counterpart(key, shape) for key, shape in shapes.items()}
    for tensor in ('weight', 'bias'):
        layout[f'{classifier}.{tensor}'] = Counterpart(None, None, optional=True)
    return layout


def find_depth(state: Mapping[str, Tensor], prefix: str = '') -> int:
    """Recognize a ResNet's depth by the number of blocks in each stage and the kind of block.

    Args:
        state: A state dict.
        prefix: What the names of the backbone begin with.

    Returns:
        The depth.

    Raises:
        ValueError: If mmdet's ResNet does not come in such a depth.
    """
    keys = [key.removeprefix(prefix) for key in state if key.startswith(prefix)]
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
    title='a ResNet with a deep stem as timm names its layers',
    usage=USAGE.format(stem=', deep_stem=True'),
    recognizes=lambda state: 'conv1.0.weight' in state and 'layer1.0.conv1.weight' in state,
    make_layout=lambda state: resnet_layout(state, timm_name, 'fc'),
    container='state_dict',
)
MMPRETRAIN = WeightSource(
    title='a ResNet as mmpretrain names its layers',
    usage=USAGE.format(stem=', deep_stem=True if it has one'),
    recognizes=lambda state: (
        'backbone.layer1.0.conv1.weight' in state
        and all(key.startswith(('backbone.', 'head.')) for key in state)
    ),
    make_layout=lambda state: resnet_layout(state, mmpretrain_name, 'head.fc', 'backbone.'),
    container='state_dict',
)
