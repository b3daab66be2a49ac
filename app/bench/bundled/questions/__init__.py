"""Kinds of questions, one file per category."""
