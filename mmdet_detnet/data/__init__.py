"""From a folder of images with annotations to a detector, in the user's folder.

Files are read in this order: :mod:`.formats` reads a folder into images with labeled boxes,
:mod:`.splits` divides them, :mod:`.config_file` chooses settings for them, and :mod:`.check` looks
for problems. :mod:`.project` calls them all. Nothing is imported here, so that ``mmdet-detnet
--help`` need not wait.
"""
