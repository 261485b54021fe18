"""What a study found, said to people: the terminal's table of effects and the self-contained HTML report."""
