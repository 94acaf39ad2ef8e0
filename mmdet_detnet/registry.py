"""The registries of the package's modules.

For ``type='mmdet_detnet.DetNet'`` in an OpenMMLab config, mmengine imports this file by the prefix,
then the ``locations``, and finds the class. No ``custom_imports`` is needed.
"""

from collections.abc import Sequence

import mmdet.registry
from mmengine.registry import Registry

SCOPE = 'mmdet_detnet'


class ScopeRegistry(Registry):
    """A registry of this package's scope that also knows mmdet's modules.

    A config from ``_base_ = 'mmdet_detnet::...'`` is built in this scope, where mmengine would not
    find mmdet's ``type='CocoDataset'``.

    Args:
        counterpart: mmdet's registry of the same kind, of which this one becomes a sibling.
        locations: Modules that register here.
    """

    def __init__(self, counterpart: Registry, locations: Sequence[str] = ()) -> None:
        super().__init__(
            counterpart.name, parent=counterpart.parent, scope=SCOPE, locations=list(locations)
        )
        self.counterpart = counterpart

    def get(self, key: str) -> type | None:
        """Find a module of this package, or else of mmdet or mmengine; None if there is none."""
        self.import_from_location()
        own = self.module_dict.get(key.removeprefix(f'{SCOPE}.'))
        return own or self.counterpart.get(key)


MODELS = ScopeRegistry(mmdet.registry.MODELS, ['mmdet_detnet.models'])
TASK_UTILS = ScopeRegistry(mmdet.registry.TASK_UTILS, ['mmdet_detnet.models'])
HOOKS = ScopeRegistry(mmdet.registry.HOOKS, ['mmdet_detnet.training'])
RUNNERS = ScopeRegistry(mmdet.registry.RUNNERS, ['mmdet_detnet.training'])

for _registry in list(vars(mmdet.registry).values()):
    if isinstance(_registry, Registry) and _registry.scope == 'mmdet':
        if _registry not in [own.counterpart for own in (MODELS, TASK_UTILS, HOOKS, RUNNERS)]:
            ScopeRegistry(_registry)
