"""Sound at the edge of the API: response formats and their streaming encoders, tempo, and uploaded recordings."""
