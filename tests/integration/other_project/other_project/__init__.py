"""The package of another project, with a registry scope of its own as mmpretrain has one."""
