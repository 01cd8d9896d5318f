"""What attackers try on a connection: with a password behind TLS, and with mutual TLS."""
