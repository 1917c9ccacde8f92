"""The fangcuan command."""
