"""What goes through Hugging Face peft: its tuners as strategies."""
