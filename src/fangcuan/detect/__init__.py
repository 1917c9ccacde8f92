"""Compile and run units; nothing here knows of cases."""
