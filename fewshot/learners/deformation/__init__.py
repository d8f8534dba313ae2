"""Images compared by deforming one into the other."""
