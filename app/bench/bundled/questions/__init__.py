"""Kinds of questions by suite, and what they share."""
