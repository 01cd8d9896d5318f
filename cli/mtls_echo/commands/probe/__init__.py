"""The ``mtls-echo probe`` command."""
