"""Fangcuan (防窜): finds channel conflict for brands that sell through distributors."""

__version__ = "0.1.0"
