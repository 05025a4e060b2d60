"""How drawn things look: patterns, the looks of classes and objects, light on shapes."""
