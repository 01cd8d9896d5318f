"""Several processes that serve the same listening sockets, and the one that supervises them."""
