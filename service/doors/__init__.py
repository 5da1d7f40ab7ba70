"""Who is let in, how much each may use, and whose turn it is."""
