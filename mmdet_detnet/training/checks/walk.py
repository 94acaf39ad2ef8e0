"""Visit all options of a config."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config

# Names chosen by the user; any string is allowed.
FREE_TEXT = ('metainfo', 'meta_keys', 'classes', 'text', 'name', 'tags', 'notes')
# mmengine's Config is not a Mapping.
MAPPINGS = (Mapping, Config)


def part(config: object, *names: str) -> Mapping:
    """Get a part of a config.

    Args:
        config: A config or a part of one.
        *names: Keys that lead to the part.

    Returns:
        The part; empty if there is none or it is already built.
    """
    for name in names:
        config = config.get(name) if isinstance(config, MAPPINGS) else None
    return config if isinstance(config, Mapping) else {}


def type_name(options: Mapping) -> str:
    """Return the name, without scope, of the class that a part builds; empty if none."""
    kind = options.get('type', '')
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '')).split('.')[-1]


def walk_dicts(config: Mapping, path: str = '') -> Iterator[tuple[str, Mapping]]:
    """List the dictionaries of a config.

    Args:
        config: A config or a part of one.
        path: Its place as a dotted path.

    Yields:
        Each dictionary with its path, outer ones first.
    """
    yield path, config
    for key, value in config.items():
        if key not in FREE_TEXT:
            yield from _walk_value(value, f'{path}.{key}' if path else str(key))


def _walk_value(value: object, path: str) -> Iterator[tuple[str, Mapping]]:
    if isinstance(value, Mapping):
        yield from walk_dicts(value, path)
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from _walk_value(each, f'{path}.{index}')


def walk_values(config: Mapping, path: str = '') -> Iterator[tuple[str, str, object]]:
    """List the single values of a config, including those in lists.

    Args:
        config: A config or a part of one.
        path: Its place as a dotted path.

    Yields:
        The path of each value, the key of the value or its list, and the value.
    """
    for place, options in walk_dicts(config, path):
        for key, value in options.items():
            if key not in FREE_TEXT:
                yield from _flatten(value, f'{place}.{key}' if place else str(key), str(key))


def _flatten(value: object, path: str, key: str) -> Iterator[tuple[str, str, object]]:
    if isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from _flatten(each, f'{path}.{index}', key)
    elif not isinstance(value, Mapping):
        yield path, key, value
