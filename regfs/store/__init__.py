"""A bucket by driver paths: whole files, streams, uploads, copies, listings."""
