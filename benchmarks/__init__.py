"""Measurements beside other programs: accuracy, rotation, failures, speed."""
