"""What the commands share: arguments, and how they end."""
