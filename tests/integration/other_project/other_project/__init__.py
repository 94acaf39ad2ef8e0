"""The package of another project."""
