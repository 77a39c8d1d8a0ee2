"""How an English prompt is read: markup, words, things, attributes, relations. The parser in `dymo.prompt.spacy` calls them in turn."""
