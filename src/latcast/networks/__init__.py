"""Batches of networks, as counts over distinct rows with physical facts."""
