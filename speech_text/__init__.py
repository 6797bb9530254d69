"""Text processing for speech: normalisation, Markdown, sentence segmentation. No dependency on other packages."""
