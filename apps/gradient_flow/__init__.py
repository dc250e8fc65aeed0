"""What gradients do: pictures and tables of the real thing."""
