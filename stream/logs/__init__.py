"""What somebody does who brings logs of their own: look at a sample, propose a mapping, mend dead letters."""
