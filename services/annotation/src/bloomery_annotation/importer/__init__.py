"""Imports: reading labelled folders, item by item, in a way that survives a restart at any moment."""
