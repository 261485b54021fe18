"""Studies: what is asked (`spec`) and which trials answer it (`designs`)."""
