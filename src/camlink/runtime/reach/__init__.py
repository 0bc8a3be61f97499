"""How agents on other machines reach their master, and their links each other."""
