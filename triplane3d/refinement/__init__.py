"""Fields and cameras that agree with a photo. Uses fields, cameras and images; networks are passed in."""
