"""The hook that draws each initial weight from a separate generator."""

from typing import Any

import numpy
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_detnet.deployment.acceleration import unwrap_model
from mmdet_detnet.registry import HOOKS


@HOOKS.register_module()
class SeededInitHook(Hook):
    """Give parameters with the same name and shape the same initial values in every detector.

    Usually, weights are drawn one after the other, so an additional module shifts the random
    numbers of all that follow. Here, each parameter is drawn from a generator seeded by the run's
    seed and the parameter's name; its distribution does not change. Two detectors with the same
    seed then differ in their modules, not by chance.

    Parameters drawn outside ``init_weights``, or elsewhere and then copied (orthogonal
    initialization), are not covered and named in a warning.
    """

    def before_run(self, runner: Runner) -> None:
        """Wrap ``init_weights``, which the runner calls next in training."""
        model = unwrap_model(runner.model)
        initialize = model.init_weights

        def initialize_by_name() -> None:
            with _NamedDraws(model, runner.seed) as drawing:
                initialize()
            missed = drawing.find_missed(model)
            if missed:
                runner.logger.warning(
                    'Initial values that differ between detectors of one seed: '
                    f'{", ".join(missed)}.'
                )

        model.init_weights = initialize_by_name


class _NamedDraws(TorchDispatchMode):
    """Gives each random operation on a parameter its own generator."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.names = {_storage(each): name for name, each in model.named_parameters()}
        self.written: set[str] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        schema = func._schema.arguments
        is_write = schema and schema[0].alias_info is not None and schema[0].alias_info.is_write
        name = self.names.get(_storage(args[0])) if is_write else None
        if name is not None:
            self.written.add(name)
            if any(argument.name == 'generator' for argument in schema):
                kwargs['generator'] = self._make_generator(name, args[0])
        return func(*args, **kwargs)

    def _make_generator(self, name: str, values: Tensor) -> torch.Generator:
        """Also seed by position, for parameters that are drawn in parts."""
        key = [self.seed, values.storage_offset(), *name.encode()]
        (word,) = numpy.random.SeedSequence(key).generate_state(1, numpy.uint64) >> 1
        return torch.Generator(values.device).manual_seed(int(word))

    def find_missed(self, model: nn.Module) -> list[str]:
        """List the parameters that were not covered and are not constant."""
        return [
            name
            for name, values in model.named_parameters()
            if name not in self.written and values.numel() and values.min() != values.max()
        ]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
