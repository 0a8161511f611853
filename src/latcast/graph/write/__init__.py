"""Writers of networks, one file per format."""
