"""Environment variables: what each means, what it accepts, and the settings made of them."""
