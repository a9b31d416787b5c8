"""Fine-tuning on files of examples: what ``tinkex train`` is made of, without its command line."""
