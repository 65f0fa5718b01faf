"""Tests of the API machinery."""
