"""The chapter about rotation: certificates change under load."""
