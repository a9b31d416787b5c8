"""What the administration clients share."""
