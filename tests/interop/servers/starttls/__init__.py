"""Servers whose protocol begins in the clear, configured for mutual TLS: one module each."""
