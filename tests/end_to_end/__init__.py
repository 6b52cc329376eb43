"""The whole of Safelight at work: real processes, real files, real clients."""
