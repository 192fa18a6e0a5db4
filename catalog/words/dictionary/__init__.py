"""Words of art and of everyday, as data: `art.txt` and `languages.txt`."""
