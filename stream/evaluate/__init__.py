"""How good the detection is: worlds with known attacks through the pipeline, and what is told held against them."""
