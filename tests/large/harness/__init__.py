"""What runs the large programs: the list of them (registry), one run (job, measure), what is said of it (table)."""
