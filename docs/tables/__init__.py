"""Tables of the documentation that are made from what happens on a machine."""
