"""The datacube: many TIFFs become one array in an Icechunk repository."""
