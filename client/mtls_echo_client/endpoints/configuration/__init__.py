"""The configuration of endpoints, read strictly."""
