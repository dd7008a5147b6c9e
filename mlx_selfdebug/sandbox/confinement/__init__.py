"""What the operating system is asked to deny the sandboxed processes: one file a mechanism."""
