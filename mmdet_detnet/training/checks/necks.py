"""Feature pyramids with impossible numbers of maps."""

from collections.abc import Mapping

from .faults import fault
from .walk import part, type_name

PYRAMIDS = ('FPN', 'PAFPN')


def find_neck_faults(config: Mapping) -> list[str]:
    """Check the numbers of input and output maps of an FPN."""
    necks = part(config, 'model').get('neck')
    neck = necks[0] if isinstance(necks, (list, tuple)) and necks else necks
    if not isinstance(neck, Mapping) or type_name(neck) not in PYRAMIDS:
        return []
    in_channels = neck.get('in_channels')
    if not isinstance(in_channels, (list, tuple)):
        return [fault('model.neck.in_channels', in_channels, 'a list with one number per map')]
    return [
        *_check_inputs(len(in_channels), part(config, 'model', 'backbone')),
        *_check_outputs(len(in_channels), neck),
    ]


def _check_inputs(num_inputs: int, backbone: Mapping) -> list[str]:
    out_indices = backbone.get('out_indices')
    if not isinstance(out_indices, (list, tuple)) or len(out_indices) == num_inputs:
        return []
    allowed = f'{len(out_indices)}, as many as model.backbone.out_indices'
    return [fault('the length of model.neck.in_channels', num_inputs, allowed)]


def _check_outputs(num_inputs: int, neck: Mapping) -> list[str]:
    start, end = neck.get('start_level', 0), neck.get('end_level', -1)
    num_outs = neck.get('num_outs')
    if not all(isinstance(each, int) for each in (start, end, num_outs)):
        return []
    if not 0 <= start < num_inputs:
        return [fault('model.neck.start_level', start, f'in 0 to {num_inputs - 1}')]
    if end in (-1, num_inputs - 1):
        least = num_inputs - start
        if num_outs < least:
            allowed = f'at least {least}, the number of maps from start_level {start} on'
            return [fault('model.neck.num_outs', num_outs, allowed)]
        return []
    if not start <= end < num_inputs:
        return [fault('model.neck.end_level', end, f'-1 or in {start} to {num_inputs - 1}')]
    if num_outs != end - start + 1:
        allowed = f'{end - start + 1} with start_level {start} and end_level {end}'
        return [fault('model.neck.num_outs', num_outs, allowed)]
    return []
