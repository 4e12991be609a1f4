"""Reports that people read: figures, and one HTML page that holds everything."""
