"""Ratios to a plain forward and backward pass, each measured within one run."""
