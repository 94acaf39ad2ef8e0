"""Training: hooks, checkpoints, checks of a config, and starting MMDetection's runner."""
