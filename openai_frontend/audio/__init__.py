"""Audio output: formats, streaming encoders, speed, resampling and silence trimming."""
