"""The systemd service: its unit files, `install` that writes one, and `notify` that talks to the service manager."""
