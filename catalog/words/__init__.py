"""What words mean: dictionaries, glossary, languages."""
