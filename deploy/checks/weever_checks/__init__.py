"""Checks of the deployment files: that each is well formed, that they agree with each other and with Weever's settings."""
