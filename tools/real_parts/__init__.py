"""The real servers that tests and benchmarks run against, installed without root and cached outside the tree.

Each module has an `ensure_*` function that installs what is missing (once, whoever asks first) and a context manager
that runs a server of it on free ports of the loopback interface for as long as the block lasts.
"""
