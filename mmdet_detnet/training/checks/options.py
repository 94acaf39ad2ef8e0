"""Options without effect because another one is missing."""

from collections.abc import Mapping

from .faults import fault
from .walk import part, walk_dicts


def find_idle_options(config: Mapping) -> list[str]:
    """Find deformable convolutions without stages, and stages without deformable convolutions."""
    faults = []
    for path, options in walk_dicts(part(config, 'model'), 'model'):
        flags = options.get('stage_with_dcn')
        any_stage = isinstance(flags, (list, tuple)) and any(flags)
        if options.get('dcn') and not any_stage:
            faults.append(
                fault(f'{path}.stage_with_dcn', flags, 'True for at least one stage with dcn')
            )
        if any_stage and not options.get('dcn'):
            faults.append(fault(f'{path}.dcn', options.get('dcn'), 'given with stage_with_dcn'))
    return faults
