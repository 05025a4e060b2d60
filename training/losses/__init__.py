"""Matching of queries with labels, and the loss terms of ReferFormer and ActionVOS."""
