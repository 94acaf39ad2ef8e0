"""Measuring what a detector costs beside another, in turn and in one run."""
