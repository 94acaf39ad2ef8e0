"""From a folder of images with annotations to a detector, in the user's folder.

The steps of the console script ``mmdet-detnet`` are functions of :mod:`.project`, :mod:`.training`
and :mod:`.looking`. Nothing is imported here, so that ``mmdet-detnet --help`` need not wait.
"""
