"""An engine and a dialect for Safelight, brought by a package of its own."""
