"""The decoder of the codec: frames of 16 codes to samples, incrementally and in batches."""
