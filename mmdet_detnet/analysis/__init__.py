"""Functions that look at data, detectors and trainings; the scripts in tools/ call them."""
