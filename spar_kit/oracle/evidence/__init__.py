"""What the oracle looks at: files of a scene, records, markers, views."""
