"""Complete applications: python -m apps.NAME."""
