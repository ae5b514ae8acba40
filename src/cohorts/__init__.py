"""Raw folders to manifests, one module per public data set."""
