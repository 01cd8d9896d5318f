"""Tests of workers and their supervisor."""
