"""Mathematics on arrays: knows no type of latcast."""
