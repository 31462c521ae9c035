"""Networks that generators train."""
