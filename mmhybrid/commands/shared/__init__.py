"""Arguments that several commands share, and how commands end."""
