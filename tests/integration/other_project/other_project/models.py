"""The project's own modules, of which it has none yet."""
