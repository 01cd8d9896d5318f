"""Probe an mTLS server: does it refuse every client that it must?"""
