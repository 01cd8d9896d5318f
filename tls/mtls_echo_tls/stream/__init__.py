"""TLS over trio, in which every alert is delivered."""
