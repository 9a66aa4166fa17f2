"""What runs of a flow will take, drawn from the history of its components."""
