"""`vestibule dev`: a gateway with a provider and a backend of its own, on loopback; it forgets all at its end."""
