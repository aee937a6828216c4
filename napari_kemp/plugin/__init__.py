"""What napari sees: the reader, the writer, the sample and the save widget.

Only modules of this folder may import napari, Qt or magicgui. ``napari.yaml`` names the functions
that napari calls; nothing is imported before napari calls one.
"""
