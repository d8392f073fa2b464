"""Groups of parts, profiles and poses that several families share."""
