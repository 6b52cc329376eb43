"""What `safelight.engines.enhance` is made of: what may be asked, files, sizes, and the work."""
