"""Drawings of a page: pure functions of numbers, whose SVG takes its colours from the page."""
