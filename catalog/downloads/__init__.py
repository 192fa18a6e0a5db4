"""Where models come from: Hugging Face, Civitai, offers, and the download itself."""
