"""State dicts: with weights that tell layers apart, and of other networks."""

import torch
from torch import nn


def draw_weights(network, counts_batches=True):
    """Draw weights and statistics that keep many layers in range; return the state dict."""
    torch.manual_seed(0)
    state = network.state_dict()
    for key, value in state.items():
        if value.dim() > 1:
            nn.init.kaiming_normal_(value)
        elif key.endswith(('running_var', 'weight')):
            nn.init.uniform_(value, 0.9, 1.2)
        elif value.dim() == 1:
            nn.init.normal_(value, std=0.1)
    return state if counts_batches else change(state, 'num_batches_tracked')


def change(state, name, shape=None):
    """Leave out all tensors with this in their name, or put one of this name and shape."""
    kept = {key: value for key, value in state.items() if name not in key}
    return kept if shape is None else {**kept, name: torch.zeros(shape)}
