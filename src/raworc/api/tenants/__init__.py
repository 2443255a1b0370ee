"""What the contracts spaces and organizations share: the same things, each in its own words."""
