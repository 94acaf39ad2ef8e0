"""From a folder of images with annotations to a detector, in the user's folder.

The steps of the console script ``mmdet-detnet``, as functions.
"""
