"""Beyond effects: a graphical causal model of a study, for why a trial came out as it did and what it would have come to otherwise."""
