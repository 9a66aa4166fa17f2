"""Windows over event time, and the methods that find unusual ones."""
