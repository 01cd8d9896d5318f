"""The chapter about endpoints: four servers, and one client that watches them."""
