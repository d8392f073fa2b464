"""Fields and cameras that agree with a photo. Knows fields, cameras and images; networks are passed in."""
