"""What seven protocols say in the clear before TLS begins: STARTTLS and its relatives."""
