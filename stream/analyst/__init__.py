"""What an analyst does with alerts: look at them, have them explained, see how far they reach, say what they were."""
