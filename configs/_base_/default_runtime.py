_base_ = ['mmdet::_base_/default_runtime.py', './safety_hooks.py']
default_hooks = _base_.safety_hooks
