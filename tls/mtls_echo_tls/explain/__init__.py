"""What the error texts of other programs mean."""
