"""Pictures and pages of the results of the other packages."""
