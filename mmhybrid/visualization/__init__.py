"""Pictures and pages of what the other packages find."""
