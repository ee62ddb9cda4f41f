"""What stands between the storage and the operating system."""
