"""Tests of whole clusters, in processes of their own."""
