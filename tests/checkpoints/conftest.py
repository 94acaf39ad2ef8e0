"""Checkpoints, and a server of files on this machine."""

import functools
import http.server
import threading

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from mmdet_detnet.checkpoints import make_plain


@pytest.fixture
def checkpoint():
    """Make what mmengine's Runner saves, with NumPy's values wherever it may have some."""
    hub = MessageHub('test')
    for step in range(5):
        hub.update_scalar('train/loss', 1.0 / (step + 1), count=2)
    hub.update_info('best_score', np.float64(0.5))
    hub.update_info('iter', np.int64(7))
    hub.update_info('sizes', np.arange(6, dtype='>i2').reshape(2, 3).T)
    palette = np.array([[1, 2, 3]], dtype=np.uint8)
    return dict(
        meta=dict(epoch=1, iter=5, seed=3, dataset_meta=dict(palette=palette)),
        state_dict=torch.nn.Linear(2, 2).state_dict(),
        message_hub=hub.state_dict(),
    )


@pytest.fixture
def plain(checkpoint):
    """Make what our hook saves."""
    make_plain(checkpoint)
    return checkpoint


@pytest.fixture
def unsafe_torch(monkeypatch):
    """Have torch unpickle everything unless it is told otherwise, as below 2.6 or by the user."""
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve the files of a folder by HTTP, with an empty cache on the side of the reader."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()
