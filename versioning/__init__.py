"""The version store: objects, manifests, versions, pointers, diff and verify over any object store."""
