"""Temperatures as text."""
