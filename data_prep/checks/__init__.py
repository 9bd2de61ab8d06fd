"""Checks of the data doctor: files, layouts, pairs, whole data sets, and built shards."""
