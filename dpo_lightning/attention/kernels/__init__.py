"""Kernels of the tree layout: how a packed row is attended."""
