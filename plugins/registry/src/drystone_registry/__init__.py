"""Container images of Drystone in any OCI registry."""
