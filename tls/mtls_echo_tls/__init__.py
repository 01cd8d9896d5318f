"""TLS over trio in which every failure explains itself: what server and client share."""
