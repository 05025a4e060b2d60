"""The demonstration: a video through the node in real processes, and pictures of what came out.

``python -m training.demo --out build/demo`` draws a kitchen video; with ``--epic FOLDER`` real
EPIC-KITCHENS frames take its place.
"""
