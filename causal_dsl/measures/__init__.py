"""Measures: quantities of a run, numbers of a pair and of a cell, their units; compiled from the lines of a test."""
