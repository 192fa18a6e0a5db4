"""The headless side: from a request to finished pictures, whichever engine draws."""
