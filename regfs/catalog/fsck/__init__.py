"""What is damaged in a registry's bucket, and what a client gets when it pulls."""
