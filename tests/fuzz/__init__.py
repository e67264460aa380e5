"""Coverage-guided fuzzing of everything that reads bytes which others may have written.

    python -m tests.fuzz [TARGET ...] --seconds 600    # make fuzz FUZZ_SECONDS=600 FUZZ="blocks source"
    python -m tests.fuzz --replay TARGET FILE          # an input once more, with its traceback

A target is a check of one input: it raises for a fault and for nothing else. Each file of this folder whose name begins
with `of_` lists some; decoders are found as the product finds them.
"""
