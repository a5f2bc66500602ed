"""The check of a registry's storage for damage, and of the pulls that fail because of it."""
