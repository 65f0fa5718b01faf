"""Fixtures for every room's tests."""
