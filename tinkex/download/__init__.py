"""Downloads of checkpoints: files are fetched by signed URLs with resumption, and archives unpacked safely."""
