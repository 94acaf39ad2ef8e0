"""A server of files on this machine."""

import functools
import http.server
import threading

import pytest


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
