"""The studio: the library in a browser. A page, and what it asks of the engine; nothing here knows how images are aligned."""
