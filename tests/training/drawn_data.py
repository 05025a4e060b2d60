"""Small data sets of drawn kitchens, prepared as the commands prepare them."""

from pathlib import Path

from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.prepare import prepare

CONFIG = KitchenConfig(clips=6, seed=3, val_share=0.34, frame_size=(427, 240))
"""Five training clips and one for validation."""


def draw_data(root: Path, config: KitchenConfig = CONFIG) -> Path:
    """Draws a kitchen below `root`; its folder in the ActionVOS layout."""
    make_kitchen(root / "raw", config, workers=1)
    prepare(root / "raw" / "VISOR", root / "raw" / "annotations", root / "data", workers=1)
    return root / "data"
