"""From landed files to the database that people query: `loader` brings files to `raw`, `publish` replaces the copy, `read` reads it."""
