"""Labels that a model draws, for people to correct."""
