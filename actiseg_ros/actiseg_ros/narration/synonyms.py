"""Other everyday names of things in a kitchen, on both sides of the Atlantic.

A model that knows one name of a line knows what the others mean as well; a line never joins things
that one would not take for each other.
"""

from __future__ import annotations

_GROUPS = (
    # Vessels and tools
    ("chopping board", "cutting board"),
    ("frying pan", "skillet", "frypan"),
    ("pot", "cooking pot"),
    ("cup", "mug"),
    ("glass", "tumbler", "drinking glass"),
    ("jug", "pitcher"),
    ("container", "food container", "storage container", "tupperware", "tub"),
    ("tin", "can"),
    ("tin opener", "can opener"),
    ("baking tray", "baking sheet", "oven tray", "sheet pan"),
    ("colander", "strainer"),
    ("spatula", "turner"),
    ("peeler", "vegetable peeler"),
    ("scissors", "kitchen shears"),
    ("rolling pin", "dough roller"),
    ("kettle", "tea kettle"),
    # Cleaning and wrapping
    ("scourer", "scrubber", "scouring pad"),
    ("tea towel", "dish towel", "kitchen towel"),
    ("dishcloth", "dishrag"),
    ("washing liquid", "dishwashing liquid", "dish soap", "dish detergent"),
    ("kitchen paper", "kitchen roll", "paper towel"),
    ("cling film", "plastic wrap", "cling wrap"),
    ("aluminium foil", "aluminum foil", "tin foil"),
    ("oven glove", "oven mitt"),
    # The room
    ("tap", "faucet"),
    ("hob", "stove", "stovetop", "cooktop"),
    ("fridge", "refrigerator"),
    ("cupboard", "cabinet"),
    ("worktop", "countertop", "work surface"),
    ("bin", "rubbish bin", "trash can", "garbage can", "dustbin"),
    # Food
    ("aubergine", "eggplant"),
    ("courgette", "zucchini"),
    ("bell pepper", "sweet pepper", "capsicum"),
    ("spring onion", "scallion", "green onion"),
    ("coriander", "cilantro"),
    ("rocket", "arugula"),
    ("beetroot", "beet"),
    ("chilli", "chili", "chile"),
    ("prawn", "shrimp"),
    ("biscuit", "cookie"),
    ("yoghurt", "yogurt"),
)

SYNONYMS: dict[str, tuple[str, ...]] = {
    name: tuple(other for other in names if other != name) for names in _GROUPS for name in names
}
"""The other names of each name."""
