"""One rank of ``mmdet-detnet train --gpus N``."""

import warnings

from .launch import train

if __name__ == '__main__':
    # mmengine's wrapper uses the old name, and AccelerationHook changes the layout of the weights
    # that it has wrapped. The user can change neither.
    warnings.filterwarnings('ignore', '`broadcast_buffers` is deprecated')
    warnings.filterwarnings('ignore', 'Grad strides do not match bucket view strides')
    train()
