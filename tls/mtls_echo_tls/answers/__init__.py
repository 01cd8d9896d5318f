"""What servers of other makes answer, and what it says of the client's certificate."""
